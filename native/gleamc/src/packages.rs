//! Finds the packages that a project depends on: by path, or by name among the stand-ins.

use crate::standins;
use camino::{Utf8Path, Utf8PathBuf};
use ecow::EcoString;
use gleam_core::{
    Error,
    config::PackageConfig,
    io::FileSystemReader,
    manifest::{ManifestPackage, ManifestPackageSource},
    requirement::Requirement,
};
use std::collections::{BTreeMap, VecDeque};

/// A requirement, and which package in which folder has it.
struct Wanted {
    name: EcoString,
    requirement: Requirement,
    by: EcoString,
    folder: Utf8PathBuf,
}

/// All packages that the project in `root` needs, each once, in no order. `standins` is the folder
/// that holds, by name, what is required by version; a path takes the place of a stand-in.
pub fn find(
    root: &Utf8Path,
    config: &PackageConfig,
    standins: &Utf8Path,
    files: &impl FileSystemReader,
) -> Result<Vec<ManifestPackage>, Error> {
    let mut found: BTreeMap<EcoString, ManifestPackage> = BTreeMap::new();
    let mut all = Vec::new();
    let mut queue: VecDeque<_> = requirements(config, root, true).into();
    while let Some(wanted) = queue.pop_front() {
        let before = found.get(&wanted.name);
        if before.is_some() && matches!(wanted.requirement, Requirement::Hex { .. }) {
            all.push(wanted);
            continue;
        }
        let path = locate(&wanted, standins, files)?;
        let package = PackageConfig::read(path.join("gleam.toml"), files)?;
        if package.name != wanted.name {
            return Err(Error::WrongDependencyProvided {
                path,
                expected: wanted.name.into(),
                found: package.name.into(),
            });
        }
        let now = manifest(&package, path.clone());
        if let Some(ManifestPackageSource::Local { path: other }) =
            before.map(|before| &before.source)
        {
            if *other == path {
                continue;
            }
            if !other.starts_with(standins) {
                return Err(Error::ProvidedDependencyConflict {
                    package: wanted.name.into(),
                    source_1: other.to_string(),
                    source_2: path.into(),
                });
            }
        }
        queue.extend(requirements(&package, &path, false));
        found.insert(wanted.name.clone(), now);
        all.push(wanted);
    }
    for wanted in &all {
        check_version(wanted, &found)?;
    }
    Ok(found.into_values().collect())
}

fn requirements(config: &PackageConfig, folder: &Utf8Path, with_dev: bool) -> Vec<Wanted> {
    let dev = config.dev_dependencies.iter().filter(|_| with_dev);
    let mut all: Vec<_> = config
        .dependencies
        .iter()
        .chain(dev)
        .map(|(name, requirement)| Wanted {
            name: name.clone(),
            requirement: requirement.clone(),
            by: config.name.clone(),
            folder: folder.to_owned(),
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn locate(
    wanted: &Wanted,
    folder: &Utf8Path,
    files: &impl FileSystemReader,
) -> Result<Utf8PathBuf, Error> {
    let (by, name) = (&wanted.by, &wanted.name);
    let (path, advice) = match &wanted.requirement {
        Requirement::Path { path } => {
            let path = wanted.folder.join(path);
            let advice = format!("{by} requires {name} at {path}, where there is no gleam.toml.");
            (path, advice)
        }
        Requirement::Hex { .. } => {
            let advice = format!(
                "{by} requires {name}. gleamc, which compiles here in place of gleam, downloads \
                 nothing, and has no stand-in for it in {folder}. {}",
                standins::instead(name)
            );
            (folder.join(name.as_str()), advice)
        }
        Requirement::Git { .. } => {
            return Err(unresolved(format!(
                "{by} requires {name} from a git repository, and gleamc takes packages from \
                 folders only. Use a path, or build with gleam."
            )));
        }
    };
    if files.is_file(&path.join("gleam.toml")) {
        files.canonicalise(&path)
    } else {
        Err(unresolved(advice))
    }
}

fn check_version(
    wanted: &Wanted,
    found: &BTreeMap<EcoString, ManifestPackage>,
) -> Result<(), Error> {
    let (Requirement::Hex { version }, Some(package)) =
        (&wanted.requirement, found.get(&wanted.name))
    else {
        return Ok(());
    };
    if version.to_pubgrub().contains(&package.version) {
        return Ok(());
    }
    Err(unresolved(format!(
        "{} requires {} {version}, and what is here is version {}.",
        wanted.by, wanted.name, package.version,
    )))
}

fn manifest(package: &PackageConfig, path: Utf8PathBuf) -> ManifestPackage {
    ManifestPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        build_tools: vec!["gleam".into()],
        otp_app: None,
        requirements: package.dependencies.keys().cloned().collect(),
        source: ManifestPackageSource::Local { path },
    }
}

fn unresolved(text: String) -> Error {
    Error::DependencyResolutionError(text)
}
