#!/usr/bin/env node
// Starts the CLI with a Node.js that can run it. Plain old JavaScript, so that any Node.js reads this far.
"use strict";
var childProcess = require("child_process");
var fs = require("fs");
var os = require("os");
var path = require("path");
var url = require("url");

var neededMajor = 24;
var main = path.join(__dirname, "main.ts");
var running = Number(process.versions.node.split(".")[0]);
var own = path.join(__dirname, "..", "..", "node_modules", ".bin", "node");

/** Where compiled code is kept from one command to the next: in a folder that nobody else may write. */
function keepCompiled() {
  var folder = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache"), "skep");
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    var found = fs.lstatSync(folder);
    if (!found.isDirectory() || found.uid !== process.getuid() || (found.mode & 0o022) !== 0) return;
    // Whoever owns the folder above puts another in its place.
    var above = fs.statSync(path.dirname(folder)).uid;
    if (above !== process.getuid() && above !== 0) return;
  } catch (error) {
    return; // a read-only system, say: every command compiles
  }
  // Also for the threads, and for the daemon that this process may become.
  process.env.NODE_COMPILE_CACHE = path.join(folder, "compiled");
  require("module").enableCompileCache(process.env.NODE_COMPILE_CACHE);
}

if (running >= neededMajor) {
  if (!process.env.NODE_COMPILE_CACHE) keepCompiled();
  import(url.pathToFileURL(main).href).catch(function (error) {
    console.error(error);
    process.exitCode = 1;
  });
} else if (fs.existsSync(own)) {
  var child = childProcess.spawn(own, [main].concat(process.argv.slice(2)), { stdio: "inherit" });
  ["SIGINT", "SIGTERM", "SIGHUP"].forEach(function (signal) {
    process.on(signal, function () {
      // Ctrl-C reaches the child by itself, as it shares the terminal.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  });
  child.on("exit", function (code, signal) {
    process.exitCode = code === null ? (signal === "SIGINT" ? 130 : 1) : code;
  });
  child.on("error", function (error) {
    console.error("error: " + own + " cannot be run: " + error.message);
    process.exitCode = 1;
  });
} else {
  console.error("error: skep needs Node.js " + neededMajor + " or newer, this is " + process.versions.node);
  console.error("hint: run `npm ci` in " + path.join(__dirname, "..", "..") + ", which brings it along");
  console.error("code: SKEP_CLI_NODE_TOO_OLD");
  process.exitCode = 1;
}
