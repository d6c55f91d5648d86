//! Compiles Gleam packages to Erlang and BEAM files with the official compiler's core, for
//! machines that have neither a `gleam` binary nor Hex.
//!
//! `main` reads the command line; `project` builds and runs; `packages` finds dependencies;
//! `files` is the world as the compiler's core sees it, `beam` its Erlang compiler, and
//! `downgrade` what OTP 25 and 26 need; `standins` says what stand-ins may lack; `console` prints.

mod beam;
mod console;
mod downgrade;
mod files;
mod packages;
mod project;
mod standins;

use camino::Utf8PathBuf;
use console::Console;
use gleam_core::Error;
use project::Project;
use std::{process::ExitCode, thread};

/// Printed for a command line that cannot be read.
const USAGE: &str = "\
usage: gleamc build|test|run [DIR] [OPTION...] [-- ARGUMENT...]

  build    compile the project in DIR (default: .) and its tests
  test     build, and run main of the module NAME_test, where NAME is the project's
  run      build, and run main of the module NAME

  --standins DIR          where packages required by version are, each in a folder of its name
                          (default: build/packages in the project)
  --module MODULE         the module to run
  --warnings-as-errors    fail where the compiler warns of the project's own code
";

/// Bytes; only what is used of it takes memory.
const STACK_SIZE: usize = 256 << 20;

/// A command line: see [`USAGE`].
struct Arguments {
    /// `build`, `test` or `run`.
    verb: String,
    /// The project's folder.
    folder: Utf8PathBuf,
    /// Where packages required by version are; none for the default.
    standins: Option<Utf8PathBuf>,
    /// The module to run; none for the project's own.
    module: Option<String>,
    /// Whether a warning of the project's own code fails the build.
    warnings_as_errors: bool,
    /// What the program that is run gets.
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let arguments = match parse(words.map(|word| word.to_string_lossy().into_owned())) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprint!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The compiler's core descends into expressions by recursion.
    let main = thread::Builder::new()
        .stack_size(STACK_SIZE)
        .spawn(move || perform(&arguments));
    match main {
        Ok(thread) => thread.join().unwrap_or(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("gleamc could not start its thread: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command line without the program's name. Error: what is wrong with it.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let verb = words.next().unwrap_or_default();
    if !["build", "test", "run"].contains(&verb.as_str()) {
        return Err(format!("No such command: {verb:?}"));
    }
    let mut folder = None;
    let mut arguments = Arguments {
        verb,
        folder: ".".into(),
        standins: None,
        module: None,
        warnings_as_errors: false,
        rest: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--standins" => arguments.standins = Some(value()?.into()),
            "--module" => arguments.module = Some(value()?),
            "--warnings-as-errors" => arguments.warnings_as_errors = true,
            "--" => arguments.rest = words.by_ref().collect(),
            option if option.starts_with('-') => return Err(format!("No such option: {option}")),
            _ if folder.is_none() => folder = Some(word),
            _ => return Err(format!("One folder at a time, not {word:?} as well")),
        }
    }
    arguments.folder = folder.unwrap_or(".".into()).into();
    Ok(arguments)
}

/// On the thread with the large stack: does what was asked for, and prints what went wrong.
fn perform(arguments: &Arguments) -> ExitCode {
    let packages = arguments.folder.join("build/packages");
    let folder = arguments.standins.as_ref().unwrap_or(&packages);
    let (error, hints) = match Project::open(&arguments.folder, folder) {
        Err(error) => (error, Vec::new()),
        Ok(project) => match build_and_run(&project, arguments) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                let hints = project.standins().hints(&error);
                (error, hints)
            }
        },
    };
    Console.error(&error);
    for hint in hints {
        Console.hint(&hint);
    }
    ExitCode::FAILURE
}

/// Builds, and runs the program unless only a build was asked for.
fn build_and_run(project: &Project, arguments: &Arguments) -> Result<(), Error> {
    let built = project.build(arguments.warnings_as_errors)?;
    let module = match arguments.verb.as_str() {
        "run" => project.name().to_owned(),
        "test" => format!("{}_test", project.name()),
        _ => return Ok(()),
    };
    let module = arguments.module.as_ref().unwrap_or(&module);
    project.run(&built, module, &arguments.rest)
}
