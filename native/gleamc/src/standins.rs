//! What stand-ins lack: each has a part of the package that is published under its name.

use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::{Error, config::PackageConfig, io::FileSystemReader, type_};
use std::collections::{BTreeMap, BTreeSet};

/// What `gleam/NAME` is not in gleam_stdlib but in gleam_NAME, besides that for which there is a
/// stand-in.
const ELSEWHERE: [&str; 8] = [
    "crypto",
    "fetch",
    "http",
    "httpc",
    "javascript",
    "regexp",
    "time",
    "yielder",
];

/// A module that was not found, or a type or value of a module that it does not have.
struct Missing<'a> {
    /// The module, such as `gleam/list`.
    module: &'a str,
    /// The type or value; none where the module itself was not found.
    name: Option<&'a str>,
}

/// The folder of stand-ins, and which of them a project has.
#[derive(Debug)]
pub struct Standins<'a, F> {
    /// The folder that has a folder for each stand-in.
    pub folder: &'a Utf8Path,
    /// The names of the stand-ins that the project depends on.
    pub in_use: Vec<&'a str>,
    /// The packages that the project has from folders which gleam.toml names.
    pub by_path: Vec<&'a str>,
    /// The files of this machine.
    pub files: &'a F,
}

impl<F: FileSystemReader> Standins<'_, F> {
    /// What to do about modules, types and functions that are missing: a text for each package
    /// that may have them.
    pub fn hints(&self, error: &Error) -> Vec<String> {
        let mut by_package: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        let all = missing(error);
        // A module that was not found is also missing where it is used, under its last part.
        let is_use = |name: &str| {
            let end = format!("/{name}");
            all.iter().any(|other| other.module.ends_with(&end))
        };
        for Missing { module, name } in &all {
            if name.is_none() && is_use(module) {
                continue;
            }
            let what = name.map_or((*module).to_owned(), |name| format!("{module}.{name}"));
            match self.package_of(module) {
                // What a module of the project's own lacks, the compiler has said.
                None if name.is_some() => {}
                None => drop(unknown.insert(what)),
                Some(package) => drop(by_package.entry(package).or_default().insert(what)),
            }
        }
        let mut hints: Vec<_> = by_package
            .iter()
            .filter_map(|(package, lacks)| self.hint(package, &list(lacks)))
            .collect();
        if !unknown.is_empty() {
            hints.push(format!(
                "If a package has {}, gleam.toml has to name that package under [dependencies].",
                list(&unknown)
            ));
        }
        hints
    }

    /// What to do about what is missing of a package.
    fn hint(&self, package: &str, lacks: &str) -> Option<String> {
        if self.in_use.contains(&package) {
            return Some(format!(
                "gleamc compiles here in place of gleam, with a stand-in for the package {package}. \
                 A stand-in has a part of the published package, and this one has no {lacks}. {}",
                instead(package)
            ));
        }
        if self.by_path.contains(&package) {
            return None;
        }
        match PackageConfig::read(self.config(package), self.files) {
            Ok(config) => Some(format!(
                "{lacks} is in the package {package}. Add it to gleam.toml, under [dependencies]:\n\n    \
                 {package} = \">= {}.0.0 and < {}.0.0\"\n",
                config.version.major,
                config.version.major + 1
            )),
            Err(_) => Some(format!(
                "{lacks} is in the package {package}. gleamc, which compiles here in place of gleam, \
                 downloads nothing, and has no stand-in for it. {}",
                instead(package)
            )),
        }
    }

    /// The package that is published with such a module, where that can be told from its name.
    fn package_of(&self, module: &str) -> Option<String> {
        let mut parts = module.split('/');
        let (first, second) = (parts.next()?, parts.next());
        let is_standin = |name: &str| self.files.is_file(&self.config(name));
        if is_standin(first) {
            return Some(first.to_owned());
        }
        let second = second.filter(|_| first == "gleam")?;
        let own = format!("gleam_{second}");
        let is_own = ELSEWHERE.contains(&second) || is_standin(&own);
        Some(if is_own { own } else { "gleam_stdlib".into() })
    }

    /// The gleam.toml of a stand-in, if there is one.
    fn config(&self, package: &str) -> Utf8PathBuf {
        self.folder.join(package).join("gleam.toml")
    }
}

/// What the compiler did not find.
fn missing(error: &Error) -> Vec<Missing<'_>> {
    match error {
        Error::UnknownImport { import, .. } => vec![Missing {
            module: import,
            name: None,
        }],
        Error::Type { failed_modules, .. } => failed_modules
            .values()
            .flat_map(|module| module.errors.iter())
            .filter_map(|error| match error {
                // Of a module that is only not imported, the compiler says what to import.
                type_::Error::UnknownModule {
                    name, suggestions, ..
                } if suggestions.is_empty() => Some(Missing {
                    module: name,
                    name: None,
                }),
                type_::Error::UnknownModuleType {
                    name, module_name, ..
                }
                | type_::Error::UnknownModuleValue {
                    name, module_name, ..
                } => Some(Missing {
                    module: module_name,
                    name: Some(name),
                }),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What to do where there is no stand-in, or one that lacks something.
pub fn instead(package: &str) -> String {
    format!(
        "Compile with gleam, which takes packages from Hex; or get the source of the published \
         package, and name its folder in gleam.toml:\n\n    {package} = {{ path = \"../{package}\" }}\n"
    )
}

/// Names, quoted as the compiler does it.
fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
