//! What the user sees: the compiler's messages on standard error, as `gleam` prints them.

use gleam_core::{
    Error, Warning,
    build::Telemetry,
    error::{OS, ShellCommandFailureReason, parse_os},
    manifest::PackageChanges,
    warning::WarningEmitterIO,
};
use std::{
    fs,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};
use termcolor::{Buffer, BufferWriter, Color, ColorChoice, ColorSpec, WriteColor};

/// Prints progress, warnings and errors.
#[derive(Debug, Clone, Copy)]
pub struct Console;

impl Console {
    /// Prints an error, with the place in the source and its text where there is one.
    pub fn error(&self, error: &Error) {
        print(|buffer| {
            error.pretty(buffer);
            Ok(())
        });
    }

    /// Prints what the user may want to know about the error before it.
    pub fn hint(&self, text: &str) {
        print(|buffer| {
            buffer.set_color(ColorSpec::new().set_bold(true).set_fg(Some(Color::Cyan)))?;
            write!(buffer, "hint:")?;
            buffer.reset()?;
            writeln!(buffer, " {text}")
        });
    }

    fn step(&self, what: &str, of: &str) {
        print(|buffer| {
            buffer.set_color(
                ColorSpec::new()
                    .set_intense(true)
                    .set_fg(Some(Color::Magenta)),
            )?;
            write!(buffer, "{what: >11}")?;
            buffer.reset()?;
            writeln!(buffer, " {of}")
        });
    }
}

impl WarningEmitterIO for Console {
    fn emit_warning(&self, warning: Warning) {
        print(|buffer| {
            warning.pretty(buffer);
            Ok(())
        });
    }
}

impl Telemetry for Console {
    fn waiting_for_build_directory_lock(&self) {
        self.step("Waiting", "for build directory lock");
    }

    fn running(&self, name: &str) {
        self.step("Running", name);
    }

    fn compiling_package(&self, name: &str) {
        self.step("Compiling", name);
    }

    fn compiled_package(&self, duration: Duration) {
        self.step("Compiled", &format!("in {:.2}s", duration.as_secs_f32()));
    }

    fn checking_package(&self, name: &str) {
        self.step("Checking", name);
    }

    fn checked_package(&self, duration: Duration) {
        self.step("Checked", &format!("in {:.2}s", duration.as_secs_f32()));
    }

    // Nothing is resolved or downloaded.
    fn resolving_package_versions(&self) {}
    fn resolved_package_versions(&self, _changes: &PackageChanges) {}
    fn downloading_package(&self, _name: &str) {}
    fn packages_downloaded(&self, _start: Instant, _count: usize) {}
}

/// The error for a program that could not be run.
pub fn failed_command(program: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::ShellProgramNotFound {
            program: program.into(),
            os: os(),
        },
        kind => Error::ShellCommand {
            program: program.into(),
            reason: ShellCommandFailureReason::IoError(kind),
        },
    }
}

/// The system, for advice on how to install what is missing.
fn os() -> OS {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let distro = release.lines().find_map(|line| line.strip_prefix("ID="));
    parse_os(
        std::env::consts::OS,
        distro.unwrap_or("other").trim_matches('"'),
    )
}

fn print(write: impl FnOnce(&mut Buffer) -> io::Result<()>) {
    let forced = std::env::var("FORCE_COLOR").is_ok_and(|value| !value.is_empty());
    let writer = BufferWriter::stderr(match (forced, io::stderr().is_terminal()) {
        (true, _) => ColorChoice::Always,
        (false, true) => ColorChoice::Auto,
        (false, false) => ColorChoice::Never,
    });
    let mut buffer = writer.buffer();
    // Where standard error is closed, nobody is left to tell.
    let _ = write(&mut buffer).and_then(|()| writer.print(&buffer));
}
