//! Erlang source to BEAM files, with one VM for the whole build.

use crate::downgrade::downgrade;
use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::paths::ARTEFACT_DIRECTORY_NAME;
use std::{
    collections::HashSet,
    fs,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// From this release on, the compiler's output is compiled as it is.
const NEEDS_NO_DOWNGRADE: u32 = 27;

/// A VM that evaluates `compile.eval`: a request is a line, and so are its answers.
#[derive(Debug)]
pub struct BeamCompiler {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    otp_release: u32,
}

impl BeamCompiler {
    /// Starts the VM.
    pub fn start() -> io::Result<Self> {
        let mut process = Command::new("erl")
            .args([
                "-noshell",
                "-boot",
                "no_dot_erlang",
                "-eval",
                include_str!("compile.eval"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = process.stdin.take();
        let answers = process.stdout.take();
        let mut answers = BufReader::new(answers.ok_or(io::ErrorKind::BrokenPipe)?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let otp_release = line
            .trim()
            .parse()
            .map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self {
            process,
            requests,
            answers,
            otp_release,
        })
    }

    /// Compiles `modules`, files of the package whose build lands in `out`, with all packages
    /// below `lib` at hand. Gives the names of the compiled modules, or `None` when one did not
    /// compile, which the VM has reported.
    pub fn compile(
        &mut self,
        out: &Utf8Path,
        lib: &Utf8Path,
        modules: &HashSet<Utf8PathBuf>,
    ) -> io::Result<Option<Vec<String>>> {
        let sources = out.join(ARTEFACT_DIRECTORY_NAME);
        let mut modules: Vec<_> = modules.iter().map(|module| sources.join(module)).collect();
        modules.sort();
        if self.otp_release < NEEDS_NO_DOWNGRADE {
            for module in &modules {
                downgrade_file(module)?;
            }
        }
        let request = [lib.to_owned(), out.join("ebin")];
        let request: Vec<_> = request
            .iter()
            .chain(&modules)
            .map(|path| path.as_str())
            .collect();
        let requests = self.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(requests, "{}", request.join("\t"))?;
        requests.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut compiled = Vec::new();
        let mut line = String::new();
        while self.answers.read_line(&mut line)? > 0 {
            match line.trim_end().split_once('\t') {
                Some(("compiled", module)) => compiled.push(module.to_owned()),
                Some(("done", "ok")) => return Ok(Some(compiled)),
                Some(("done", _)) => return Ok(None),
                _ => eprint!("{line}"),
            }
            line.clear();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for BeamCompiler {
    fn drop(&mut self) {
        // The VM ends when its input does.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

fn downgrade_file(path: &Utf8Path) -> io::Result<()> {
    let source = fs::read_to_string(path)?;
    fs::write(path, downgrade(&source))
}
