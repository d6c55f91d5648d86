//! Builds a project and all that it depends on, and runs it.

use crate::{
    console::{Console, failed_command},
    files::Files,
    packages,
    standins::Standins,
};
use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::{
    Error,
    analyse::TargetSupport,
    build::{Built, Codegen, Compile, Mode, Options, ProjectCompiler, Target, Telemetry},
    config::PackageConfig,
    error::{FileIoAction, FileKind},
    io::{FileSystemReader, FileSystemWriter, files_with_extension},
    manifest::{ManifestPackage, ManifestPackageSource},
    paths::{ARTEFACT_DIRECTORY_NAME, ProjectPaths},
};
use std::{fs, os::unix::process::CommandExt, process::Command, rc::Rc, time::Instant};

/// A Gleam project in a folder.
#[derive(Debug)]
pub struct Project {
    paths: ProjectPaths,
    config: PackageConfig,
    packages: Vec<ManifestPackage>,
    /// The folder that stand-ins are in.
    standins: Utf8PathBuf,
    files: Files,
}

impl Project {
    /// Reads the project's gleam.toml and finds what it depends on.
    pub fn open(folder: &Utf8Path, standins: &Utf8Path) -> Result<Self, Error> {
        let files = Files::default();
        let root = files.canonicalise(folder)?;
        let paths = ProjectPaths::new(root);
        let config = PackageConfig::read(paths.root_config(), &files)?;
        let standins = files
            .canonicalise(standins)
            .unwrap_or_else(|_| standins.to_owned());
        let packages = packages::find(paths.root(), &config, &standins, &files)?;
        Ok(Self {
            paths,
            config,
            packages,
            standins,
            files,
        })
    }

    /// The project's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The folder of stand-ins, and which of its packages are some.
    pub fn standins(&self) -> Standins<'_, Files> {
        let is_standin = |package: &&ManifestPackage| match &package.source {
            ManifestPackageSource::Local { path } => path.starts_with(&self.standins),
            _ => false,
        };
        let (standins, others): (Vec<_>, Vec<_>) = self.packages.iter().partition(is_standin);
        Standins {
            folder: &self.standins,
            in_use: standins
                .iter()
                .map(|package| package.name.as_str())
                .collect(),
            by_path: others.iter().map(|package| package.name.as_str()).collect(),
            files: &self.files,
        }
    }

    /// Compiles what changed, to BEAM files below `build/dev/erlang`.
    pub fn build(&self, warnings_as_errors: bool) -> Result<Built, Error> {
        let start = Instant::now();
        let _lock = self.lock()?;
        self.remove_what_is_stale()?;
        let options = Options {
            mode: Mode::Dev,
            target: Some(Target::Erlang),
            compile: Compile::All,
            codegen: Codegen::All,
            warnings_as_errors,
            root_target_support: TargetSupport::Enforced,
            no_print_progress: false,
        };
        let built = ProjectCompiler::new(
            self.config.clone(),
            options,
            self.packages.clone(),
            &Console,
            Rc::new(Console),
            self.paths.clone(),
            self.files.clone(),
        )
        .compile()?;
        Console.compiled_package(start.elapsed());
        Ok(built)
    }

    /// Becomes an Erlang VM that starts the application and runs `main` of `module`.
    pub fn run(&self, built: &Built, module: &str, arguments: &[String]) -> Result<(), Error> {
        built.get_main_function(&module.into(), Target::Erlang)?;
        Console.running(&format!("{module}.main"));
        let mut command = Command::new("erl");
        let names = self.packages.iter().map(|package| package.name.as_str());
        for name in names.chain([self.name()]) {
            command.arg("-pa").arg(self.out(name).join("ebin"));
        }
        let start = format!(
            "'{}@@main':run('{}')",
            self.name(),
            module.replace('/', "@")
        );
        let error = command
            .args(["-eval", &start, "-noshell", "-extra"])
            .args(arguments)
            .exec();
        Err(failed_command("erl", &error))
    }

    fn out(&self, package: &str) -> Utf8PathBuf {
        self.paths
            .build_directory_for_package(Mode::Dev, Target::Erlang, package)
    }

    /// Waits until no other build is under way in this project.
    fn lock(&self) -> Result<fs::File, Error> {
        let path = self.paths.build_directory().join("gleam-dev-erlang.lock");
        let failed = |error: std::io::Error| Error::FileIo {
            kind: FileKind::File,
            action: FileIoAction::Lock,
            path: path.clone(),
            err: Some(error.to_string()),
        };
        self.files.mkdir(&self.paths.build_directory())?;
        let file = fs::File::create(&path).map_err(failed)?;
        if file.try_lock().is_err() {
            Console.waiting_for_build_directory_lock();
            file.lock().map_err(failed)?;
        }
        Ok(file)
    }

    /// Sees to what the compiler's core does not look at: which folder a package comes from, and
    /// header files, on which Erlang files depend.
    fn remove_what_is_stale(&self) -> Result<(), Error> {
        let mut sources = format!("gleamc {}\n", env!("CARGO_PKG_VERSION"));
        let mut folders = vec![(self.name(), self.paths.root())];
        for package in &self.packages {
            if let ManifestPackageSource::Local { path } = &package.source {
                sources += &format!("{} {path}\n", package.name);
                folders.push((&package.name, path));
            }
        }
        let record = self.paths.build_directory().join("gleamc-packages");
        if fs::read_to_string(&record).ok().as_ref() != Some(&sources) {
            let target = self
                .paths
                .build_directory_for_target(Mode::Dev, Target::Erlang);
            self.files.delete_directory(&target)?;
            self.files.write(&record, &sources)?;
        }
        for (name, folder) in folders {
            if self.has_newer_headers(folder, &self.out(name)) {
                self.files.delete_directory(&self.out(name))?;
            }
        }
        Ok(())
    }

    fn has_newer_headers(&self, package: &Utf8Path, out: &Utf8Path) -> bool {
        let modified = |path: &Utf8Path| self.files.modification_time(path).ok();
        ["src", "test", "dev"]
            .iter()
            .map(|folder| package.join(folder))
            .any(|folder| {
                self.files.is_directory(&folder)
                    && files_with_extension(&self.files, &folder, "hrl").any(|header| {
                        let copy = header
                            .strip_prefix(&folder)
                            .map(|relative| out.join(ARTEFACT_DIRECTORY_NAME).join(relative));
                        copy.is_ok_and(|copy| copy.exists() && modified(&header) > modified(&copy))
                    })
            })
    }
}
