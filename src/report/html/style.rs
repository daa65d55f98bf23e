//! How the page looks: readable in print, on a phone, light and dark.

/// The style sheet.
pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--text:#1f2328;--faint:#59636e;--line:#d4d8dd;--band:#f3f5f7;--link:#0550ae}
@media (prefers-color-scheme:dark){:root{--paper:#16191d;--text:#e6e8eb;--faint:#a4adb8;--line:#3a4048;--band:#20252b;--link:#79b8ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.25rem;background:var(--paper);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.6rem 0 .5rem}
p,ul{margin:.5rem 0}
a{color:var(--link)}
nav{color:var(--faint);margin:.5rem 0 1rem}
nav a{margin-right:.9rem;white-space:nowrap}
code{font:0.9em ui-monospace,monospace;overflow-wrap:anywhere}
.faint{color:var(--faint)}
.wide{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;white-space:nowrap}
th{white-space:normal;vertical-align:bottom;background:var(--band);font-weight:600}
td.long{white-space:normal;min-width:14rem}
.verdict{font-weight:600}
.WIN::before{content:'\\25B2\\00A0'}.LOSS::before{content:'\\25BC\\00A0'}.TIE::before{content:'=\\00A0'}
.INCOMPLETE::before,.DRIFT::before{content:'!\\00A0'}
.chart svg{display:block;width:100%;min-width:600px;height:auto;max-width:860px}
details summary{cursor:pointer;margin:.6rem 0}
@media (max-width:480px){body{padding:.8rem;font-size:15px}h1{font-size:1.3rem}}
@media print{body{max-width:none;padding:0}nav{display:none}.wide{overflow:visible}th,td{white-space:normal}.chart{break-inside:avoid}.chart svg{min-width:0}}
";
