//! Names that the reference project (hybrid-rope) gave to other formulas over time: versioned, so
//! that an old result can be run again as it was. Leaving out the version is an error, since none
//! of them is what the name means.
//!
//! Not here, because `xp` has them under their own names: the linear mix called hybrid
//! (`mix`), EVQ-cosh on the standard and middle grid (`evq_cosh`), PI called `YaRN` (`pi`), the
//! NTK that recomputes a geometric set (`ntk`). Not here, because they are no frequency set or not
//! written down exactly: mixtures of cos and sin tables, the split hybrid of the second `LoRA` runs,
//! learnable frequencies, DF-RoPE.

pub(super) mod evq;
pub(super) mod scaling;
pub(super) mod shapes;
