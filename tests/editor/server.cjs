// Taplo's language server over standard input and output, for check.py: the WebAssembly build that
// the VS Code extension "Even Better TOML" runs, given what that extension gives it.
// usage: node server.cjs FOLDER     FOLDER holds node_modules/@taplo/lsp
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { TaploLsp } = require(path.resolve(process.argv[2], "node_modules/@taplo/lsp"));

const offline = () => Promise.reject(new Error("the tests have no network"));
const environment = {
    now: () => new Date(),
    envVar: (name) => process.env[name],
    envVars: () => Object.entries(process.env),
    stdErrAtty: () => false,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    fetch: { fetch: offline, Headers, Request, Response },
    glob: () => [],
    readFile: (name) => fs.promises.readFile(name),
    writeFile: () => Promise.reject(new Error("the tests write nothing")),
    // Also asked about URLs that are no files; an exception would end the server.
    urlToFilePath: (url) => decodeURI(new URL(url).pathname),
    isAbsolute: (name) => path.isAbsolute(name),
    cwd: () => process.cwd(),
    findConfigFile: (from) =>
        [".taplo.toml", "taplo.toml"]
            .map((name) => path.join(from, name))
            .find((name) => fs.existsSync(name)),
};

const write = (message) => {
    const body = Buffer.from(JSON.stringify(message));
    process.stdout.write(`Content-Length: ${body.length}\r\n\r\n`);
    process.stdout.write(body);
};

TaploLsp.initialize(environment, { onMessage: write }).then((server) => {
    let pending = Buffer.alloc(0);
    process.stdin.on("end", () => process.exit(0));
    process.stdin.on("data", (chunk) => {
        pending = Buffer.concat([pending, chunk]);
        for (;;) {
            const header = pending.indexOf("\r\n\r\n");
            if (header < 0) return;
            const length = Number(/content-length: *(\d+)/i.exec(pending.subarray(0, header))[1]);
            const end = header + 4 + length;
            if (pending.length < end) return;
            const message = JSON.parse(pending.subarray(header + 4, end));
            pending = pending.subarray(end);
            server.send(message);
        }
    });
});
