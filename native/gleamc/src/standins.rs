//! What stand-ins lack: each has a part of the package that is published under its name.

use gleam_core::{Error, type_};

/// Whether the error may come from a part that a stand-in lacks: there is no such module, type or
/// function.
fn may_lack(error: &Error) -> bool {
    match error {
        Error::UnknownImport { .. } => true,
        Error::Type { failed_modules, .. } => failed_modules
            .values()
            .flat_map(|module| module.errors.iter())
            .any(|error| {
                matches!(
                    error,
                    type_::Error::UnknownModule { .. }
                        | type_::Error::UnknownModuleType { .. }
                        | type_::Error::UnknownModuleValue { .. }
                )
            }),
        _ => false,
    }
}

/// What to do about such an error of a project that has these stand-ins.
pub fn hint(error: &Error, standins: &[&str]) -> Option<String> {
    let first = standins.first().filter(|_| may_lack(error))?;
    Some(format!(
        "gleamc compiles here in place of gleam, with stand-ins for {}. A stand-in has a part of the \
         published package: what is missing above may be in that. Compile with gleam, which takes \
         packages from Hex; or get the package, and say in gleam.toml where its folder is: \
         {first} = {{ path = \"../{first}\" }}",
        standins.join(", ")
    ))
}
