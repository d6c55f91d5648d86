//! What the compiler's core asks of the world: files, and the Erlang compiler.

use crate::{beam::BeamCompiler, console::failed_command};
use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::{
    Error,
    error::{FileIoAction, FileKind, ShellCommandFailureReason},
    io::{
        BeamCompilerIO, Command, CommandExecutor, DirEntry, FileSystemReader, FileSystemWriter,
        ReadDir, Stdio, WrappedReader,
    },
};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs, io,
    rc::Rc,
    time::SystemTime,
};

type Result<T, E = Error> = std::result::Result<T, E>;

/// The real file system, with an Erlang VM that starts when there is something to compile.
#[derive(Debug, Clone, Default)]
pub struct Files {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    compiler: Option<BeamCompiler>,
    /// Copies of Erlang files that are not compiled yet, and when their originals were changed.
    uncompiled: HashMap<Utf8PathBuf, SystemTime>,
}

impl FileSystemReader for Files {
    fn read_dir(&self, path: &Utf8Path) -> Result<ReadDir> {
        let entries = path.read_dir_utf8();
        let entries = entries.map_err(directory(path, FileIoAction::Read))?;
        Ok(entries
            .map(|entry| entry.map(|entry| DirEntry::from_path(entry.path())))
            .collect())
    }

    fn read(&self, path: &Utf8Path) -> Result<String> {
        fs::read_to_string(path).map_err(file(path, FileIoAction::Read))
    }

    fn read_bytes(&self, path: &Utf8Path) -> Result<Vec<u8>> {
        fs::read(path).map_err(file(path, FileIoAction::Read))
    }

    fn reader(&self, path: &Utf8Path) -> Result<WrappedReader> {
        let opened = fs::File::open(path).map_err(file(path, FileIoAction::Open))?;
        Ok(WrappedReader::new(path, Box::new(opened)))
    }

    fn is_file(&self, path: &Utf8Path) -> bool {
        path.is_file()
    }

    fn is_same_file(&self, left: &Utf8Path, right: &Utf8Path) -> Result<bool> {
        Ok(self.canonicalise(left)? == self.canonicalise(right)?)
    }

    fn is_directory(&self, path: &Utf8Path) -> bool {
        path.is_dir()
    }

    fn modification_time(&self, path: &Utf8Path) -> Result<SystemTime> {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        modified.map_err(file(path, FileIoAction::ReadMetadata))
    }

    fn canonicalise(&self, path: &Utf8Path) -> Result<Utf8PathBuf> {
        let canonical = path.canonicalize_utf8();
        canonical.map_err(file(path, FileIoAction::Canonicalise))
    }
}

impl FileSystemWriter for Files {
    fn mkdir(&self, path: &Utf8Path) -> Result<()> {
        fs::create_dir_all(path).map_err(directory(path, FileIoAction::Create))
    }

    fn write(&self, path: &Utf8Path, content: &str) -> Result<()> {
        self.write_bytes(path, content.as_bytes())
    }

    fn write_bytes(&self, path: &Utf8Path, content: &[u8]) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.mkdir(parent)?;
        }
        fs::write(path, content).map_err(file(path, FileIoAction::WriteTo))
    }

    fn delete_directory(&self, path: &Utf8Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(directory(path, FileIoAction::Delete)(error))
            }
            _ => Ok(()),
        }
    }

    /// Copies a file and its date. The copy of an Erlang file has the epoch's until it is compiled:
    /// a build that ends before that leaves it to the next one.
    fn copy(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let changed = self.modification_time(from)?;
        fs::copy(from, to).map_err(file(from, FileIoAction::Copy(Some(to.into()))))?;
        if to.extension() != Some("erl") {
            return set_modified(to, changed);
        }
        let mut shared = self.shared.borrow_mut();
        shared.uncompiled.insert(to.to_owned(), changed);
        set_modified(to, SystemTime::UNIX_EPOCH)
    }

    fn copy_dir(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let action = FileIoAction::Copy(Some(to.into()));
        Err(directory(from, action)(io::ErrorKind::Unsupported.into()))
    }

    fn hardlink(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let action = FileIoAction::Link(to.into());
        Err(file(from, action)(io::ErrorKind::Unsupported.into()))
    }

    fn symlink_dir(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let from = self.canonicalise(from)?;
        std::os::unix::fs::symlink(&from, to).map_err(file(&from, FileIoAction::Link(to.into())))
    }

    fn delete_file(&self, path: &Utf8Path) -> Result<()> {
        fs::remove_file(path).map_err(file(path, FileIoAction::Delete))
    }

    fn exists(&self, path: &Utf8Path) -> bool {
        path.exists()
    }
}

/// For packages and files that are not Gleam or Erlang: gleamc compiles none.
impl CommandExecutor for Files {
    fn exec(&self, command: Command) -> Result<i32> {
        Err(failed_command(
            &command.program,
            &io::ErrorKind::Unsupported.into(),
        ))
    }
}

impl BeamCompilerIO for Files {
    fn compile_beam(
        &self,
        out: &Utf8Path,
        lib: &Utf8Path,
        modules: &HashSet<Utf8PathBuf>,
        _stdio: Stdio,
    ) -> Result<Vec<String>> {
        let mut shared = self.shared.borrow_mut();
        let compiler = match shared.compiler.take() {
            Some(compiler) => compiler,
            None => BeamCompiler::start().map_err(|error| failed_command("erl", &error))?,
        };
        let compiler = shared.compiler.insert(compiler);
        let compiled = compiler
            .compile(out, lib, modules)
            .map_err(|error| failed_command("erl", &error))?;
        let Some(compiled) = compiled else {
            return Err(Error::ShellCommand {
                program: "erlc".into(),
                reason: ShellCommandFailureReason::Unknown,
            });
        };
        for (copy, changed) in shared.uncompiled.drain() {
            set_modified(&copy, changed)?;
        }
        Ok(compiled)
    }
}

fn set_modified(path: &Utf8Path, time: SystemTime) -> Result<()> {
    let opened = fs::File::options().write(true).open(path);
    opened
        .and_then(|opened| opened.set_modified(time))
        .map_err(file(path, FileIoAction::WriteTo))
}

fn file(path: &Utf8Path, action: FileIoAction) -> impl FnOnce(io::Error) -> Error {
    failure(path, action, FileKind::File)
}

fn directory(path: &Utf8Path, action: FileIoAction) -> impl FnOnce(io::Error) -> Error {
    failure(path, action, FileKind::Directory)
}

fn failure(
    path: &Utf8Path,
    action: FileIoAction,
    kind: FileKind,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::FileIo {
        kind,
        action,
        path,
        err: Some(error.to_string()),
    }
}
