//! What gleamc says of projects that it can't compile.

use crate::workshop::Workshop;

/// Whether `text` holds `parts`, in any lines: messages are wrapped.
fn assert_says(text: &str, parts: &[&str]) {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_type_error_is_shown_in_its_place() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "pub fn main() -> Int {\n  let a = 1\n  a + \"b\"\n}\n",
    );
    let says = workshop.build_fails();
    assert_says(
        &says,
        &[
            "error: Type mismatch",
            "app/src/app.gleam:3:7",
            "3 │ a + \"b\"",
            "But this argument has this type: String",
        ],
    );
    assert!(
        !workshop
            .path("app/build/dev/erlang/app/ebin/app.beam")
            .exists()
    );
}

#[test]
fn a_type_error_in_a_test_and_in_a_dependency_are_shown() {
    let workshop = Workshop::new();
    workshop.write("app/src/app.gleam", "pub fn main() { 1 }\n");
    workshop.write("app/test/app_test.gleam", "pub fn main() { nothing }\n");
    assert_says(
        &workshop.build_fails(),
        &["Unknown variable", "app/test/app_test.gleam:1:17"],
    );

    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = { path = \"../base\" }\n");
    workshop.write(
        "app/src/app.gleam",
        "import base\npub fn main() { base.one() }\n",
    );
    workshop.package("base", "");
    workshop.write("base/src/base.gleam", "\npub fn one() { 1 + 1.0 }\n");
    assert_says(
        &workshop.build_fails(),
        &["Type mismatch", "base/src/base.gleam:2:20"],
    );
}

#[test]
fn a_warning_is_shown_by_every_build() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "pub fn main() {\n  let unused = 1\n  2\n}\n",
    );
    for _ in 1..=2 {
        assert_says(
            &workshop.build().stderr,
            &["warning: Unused variable", "app/src/app.gleam:2:7"],
        );
    }
    let outcome = workshop.gleamc(&["build", "--warnings-as-errors"]);
    assert_eq!(outcome.status, 1);
    assert_says(&outcome.stderr, &["Unused variable"]);
}

#[test]
fn an_error_in_an_erlang_file_is_shown_until_it_is_mended() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "@external(erlang, \"native\", \"one\")\npub fn one() -> Int\n",
    );
    workshop.write(
        "app/src/native.erl",
        "-module(native).\n-export([one/0]).\none() -> Two.\n",
    );
    for _ in 1..=2 {
        assert_says(
            &workshop.build_fails(),
            &["native.erl:3", "'Two' is unbound"],
        );
    }
    workshop.write(
        "app/src/native.erl",
        "-module(native).\n-export([one/0]).\none() -> 1.\n",
    );
    workshop.build();
}

#[test]
fn a_dependency_without_a_stand_in_is_named() {
    let workshop = Workshop::new();
    workshop.package(
        "app",
        "[dependencies]\ngleam_stdlib = \">= 1.0.0 and < 2.0.0\"\n",
    );
    assert_says(
        &workshop.build_fails(),
        &[
            "app requires gleam_stdlib",
            "no stand-in for it in",
            "standins",
            "Compile with gleam",
            "gleam_stdlib = { path = \"../gleam_stdlib\" }",
        ],
    );
}

#[test]
fn what_a_stand_in_may_lack_is_said() {
    for (wrong, lacks) in [
        (
            "import base/bool\npub fn main() { bool.and }\n",
            "`base/bool`",
        ),
        ("import base\npub fn main() { base.two() }\n", "`base.two`"),
        (
            "import base\npub fn main() -> base.Two { Nil }\n",
            "`base.Two`",
        ),
    ] {
        let workshop = Workshop::new();
        workshop.package("app", "[dependencies]\nbase = \">= 1.0.0 and < 2.0.0\"\n");
        workshop.stand_in("1.2.3");
        workshop.write("standins/base/src/base.gleam", "pub fn one() { 1 }\n");
        workshop.write("app/src/app.gleam", wrong);
        let says = workshop.build_fails();
        assert_says(
            &says,
            &[
                "hint: ",
                "a stand-in for the package base.",
                &format!("this one has no {lacks}."),
                "base = { path = \"../base\" }",
            ],
        );
    }
}

#[test]
fn a_missing_module_is_said_to_be_in_its_package() {
    let workshop = Workshop::new();
    workshop.stand_in("1.2.3");
    workshop.write(
        "app/src/app.gleam",
        "import base\nimport gleam/regexp\nimport gleam/uri\nimport wisp\n\
         pub fn main() { #(regexp.check, wisp.ok) }\n",
    );
    let says = workshop.build_fails();
    assert_says(
        &says,
        &[
            "`base` is in the package base. Add it to gleam.toml, under [dependencies]: \
             base = \">= 1.0.0 and < 2.0.0\"",
            "`gleam/regexp` is in the package gleam_regexp.",
            "gleam_regexp = { path = \"../gleam_regexp\" }",
            "`gleam/uri` is in the package gleam_stdlib.",
            "If a package has `wisp`, gleam.toml has to name that package under [dependencies].",
        ],
    );
}

#[test]
fn what_a_package_by_path_lacks_has_no_hint() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = { path = \"../base\" }\n");
    workshop.package("base", "");
    workshop.stand_in("1.2.3");
    workshop.write("base/src/base.gleam", "pub fn one() { 1 }\n");
    workshop.write(
        "app/src/app.gleam",
        "import base\npub fn main() { base.two() }\n",
    );
    let says = workshop.build_fails();
    assert!(!says.contains("hint: "), "{says}");
}

#[test]
fn other_errors_have_no_hint_about_stand_ins() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = \">= 1.0.0 and < 2.0.0\"\n");
    workshop.stand_in("1.2.3");
    workshop.write("standins/base/src/base.gleam", "pub fn one() { 1 }\n");
    workshop.write(
        "app/src/app.gleam",
        "import base\npub fn main() { base.one() + 1.0 }\n",
    );
    let says = workshop.build_fails();
    assert!(!says.contains("hint: "), "{says}");
}

#[test]
fn a_stand_in_of_another_version_is_refused() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = \">= 2.0.0 and < 3.0.0\"\n");
    workshop.stand_in("1.9.0");
    assert_says(
        &workshop.build_fails(),
        &[
            "app requires base >= 2.0.0 and < 3.0.0",
            "what is here is version 1.9.0",
        ],
    );
}

#[test]
fn a_version_counts_for_a_package_by_path_too() {
    let workshop = Workshop::new();
    workshop.package(
        "app",
        "[dependencies]\nbase = \">= 2.0.0\"\none = { path = \"../one\" }\n",
    );
    workshop.package("one", "[dependencies]\nbase = { path = \"../base\" }\n");
    workshop.stand_in("2.0.0");
    workshop.package("base", "");
    assert_says(
        &workshop.build_fails(),
        &[
            "app requires base >= 2.0.0",
            "what is here is version 1.2.3",
        ],
    );
}

#[test]
fn a_path_that_leads_nowhere_is_named() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = { path = \"../bse\" }\n");
    assert_says(
        &workshop.build_fails(),
        &["app requires base at", "bse, where there is no gleam.toml"],
    );

    workshop.package("app", "[dependencies]\nbase = { path = \"../other\" }\n");
    workshop.package("other", "");
    assert_says(
        &workshop.build_fails(),
        &["Expected package `base` at path", "but found `other`"],
    );

    workshop.package(
        "app",
        "[dependencies]\nbase = { git = \"https://a.example\", ref = \"1\" }\n",
    );
    assert_says(
        &workshop.build_fails(),
        &["app requires base from a git repository"],
    );
}

#[test]
fn packages_that_need_each_other_are_named() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\none = { path = \"../one\" }\n");
    workshop.package("one", "[dependencies]\ntwo = { path = \"../two\" }\n");
    workshop.package("two", "[dependencies]\none = { path = \"../one\" }\n");
    for package in ["one", "two"] {
        workshop.write(
            &format!("{package}/src/{package}.gleam"),
            "pub const a = 1\n",
        );
    }
    assert_says(&workshop.build_fails(), &["Dependency cycle", "one", "two"]);

    workshop.package("two", "[dependencies]\napp = { path = \"../app\" }\n");
    assert_says(
        &workshop.build_fails(),
        &["Dependency cycle", "app", "one", "two"],
    );

    workshop.package("app", "[dependencies]\napp = { path = \".\" }\n");
    assert_says(&workshop.build_fails(), &["Dependency cycle", "app"]);
}

#[test]
fn modules_that_import_each_other_are_named() {
    let workshop = Workshop::new();
    workshop.write("app/src/app.gleam", "import other\npub const a = other.b\n");
    workshop.write("app/src/other.gleam", "import app\npub const b = app.a\n");
    assert_says(&workshop.build_fails(), &["Import cycle", "app", "other"]);
}

#[test]
fn two_sources_for_one_package_are_named() {
    let workshop = Workshop::new();
    workshop.package(
        "app",
        "[dependencies]\nbase = { path = \"../base\" }\none = { path = \"../one\" }\n",
    );
    workshop.package("base", "");
    workshop.package(
        "one",
        "[dependencies]\nbase = { path = \"../elsewhere/base\" }\n",
    );
    workshop.write(
        "elsewhere/base/gleam.toml",
        "name = \"base\"\nversion = \"1.0.0\"\n",
    );
    assert_says(
        &workshop.build_fails(),
        &["Conflicting provided dependencies", "elsewhere/base"],
    );
}

#[test]
fn what_has_no_gleam_toml_is_no_project() {
    let workshop = Workshop::new();
    let outcome = workshop.gleamc_in(".", &["build"]);
    assert_eq!(outcome.status, 1);
    assert_says(&outcome.stderr, &["gleam.toml"]);
}

#[test]
fn bad_arguments_get_the_usage() {
    let workshop = Workshop::new();
    for (arguments, problem) in [
        (&[][..], "No such command: \"\""),
        (&["compile"], "No such command: \"compile\""),
        (&["build", "--fast"], "No such option: --fast"),
        (&["build", "--standins"], "--standins needs a value"),
        (
            &["build", "a", "b"],
            "One folder at a time, not \"b\" as well",
        ),
    ] {
        let outcome = workshop.gleamc(arguments);
        assert_eq!(outcome.status, 2, "{}", outcome.stderr);
        assert_says(&outcome.stderr, &[problem, "usage: gleamc build|test|run"]);
    }
}
