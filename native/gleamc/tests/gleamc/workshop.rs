//! A folder of packages for one test, and gleamc in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

pub struct Workshop {
    folder: PathBuf,
}

pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Workshop {
    /// With the package `app` in the folder of that name, which has no dependencies yet.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gleamc-test-{}-{number}", process::id());
        let workshop = Self {
            folder: std::env::temp_dir().join(name),
        };
        workshop.package("app", "");
        workshop
    }

    /// A package whose gleam.toml ends with `more`.
    pub fn package(&self, name: &str, more: &str) {
        let toml = format!("name = \"{name}\"\nversion = \"1.2.3\"\n{more}");
        self.write(&format!("{name}/gleam.toml"), &toml);
    }

    /// A stand-in for the package `base`.
    pub fn stand_in(&self, version: &str) {
        let toml = format!("name = \"base\"\nversion = \"{version}\"\n");
        self.write("standins/base/gleam.toml", &toml);
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Writes a file that is newer than everything that was built.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(2))
            .unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// When a built module of `app` was written.
    pub fn built_at(&self, module: &str) -> SystemTime {
        let beam = self.path(&format!("app/build/dev/erlang/app/ebin/{module}.beam"));
        beam.metadata().unwrap().modified().unwrap()
    }

    pub fn gleamc(&self, arguments: &[&str]) -> Outcome {
        self.gleamc_in("app", arguments)
    }

    pub fn gleamc_in(&self, folder: &str, arguments: &[&str]) -> Outcome {
        run(&self.path(folder), arguments)
    }

    /// Builds `app`, which has to succeed.
    pub fn build(&self) -> Outcome {
        let outcome = self.gleamc(&["build", "--standins", "../standins"]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        outcome
    }

    /// Builds `app`, which has to fail, and gives what it says.
    pub fn build_fails(&self) -> String {
        let outcome = self.gleamc(&["build", "--standins", "../standins"]);
        assert_eq!(outcome.status, 1, "{}", outcome.stderr);
        outcome.stderr
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_gleamc"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    Outcome {
        status: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
