//! What gleamc builds, when it builds again, and that it runs.

use crate::workshop::Workshop;
use std::{fs, os::unix::fs::symlink};

const PRINT: &str = "@external(erlang, \"io\", \"put_chars\")\npub fn print(text: String) -> a\n";

/// A package `base` with all that Warp's own Erlang package has, and that links to its sources.
fn with_erlang_package(workshop: &Workshop) {
    workshop.package("app", "[dependencies]\nbase = { path = \"../base\" }\n");
    workshop.write(
        "app/src/app.gleam",
        &format!("{PRINT}@external(erlang, \"base_deep\", \"value\")\nfn value() -> String\npub fn main() {{ print(value()) }}\n"),
    );
    workshop.package(
        "base",
        "target = \"erlang\"\n[erlang]\napplication_start_module = \"base_app\"\nextra_applications = [\"crypto\"]\n",
    );
    workshop.write("erlang/src/base.app.src", "{application, base, []}.\n");
    workshop.write("erlang/src/base.hrl", "-define(VALUE, <<\"first\">>).\n");
    workshop.write("erlang/src/deep/base_deep.erl",
        "-module(base_deep).\n-include(\"../base.hrl\").\n-export([value/0]).\nvalue() -> ?VALUE.\n");
    workshop.write(
        "erlang/src/base_flat.erl",
        "-module(base_flat).\n-include(\"base.hrl\").\n-export([value/0]).\nvalue() -> ?VALUE.\n",
    );
    workshop.write("erlang/src/base_app.erl",
        "-module(base_app).\n-behaviour(application).\n-export([start/2, stop/1]).\n\
         start(_, _) -> io:put_chars(\"started \"), {ok, spawn_link(fun() -> receive stop -> ok end end)}.\nstop(_) -> ok.\n");
    workshop.write(
        "erlang/src/base_user.erl",
        "-module(base_user).\n-behaviour(base_z).\n-export([f/0]).\nf() -> 1.\n",
    );
    workshop.write(
        "erlang/src/base_z.erl",
        "-module(base_z).\n-callback f() -> integer().\n",
    );
    workshop.write("erlang/priv/data.txt", "of base");
    for folder in ["src", "priv"] {
        symlink(
            format!("../erlang/{folder}"),
            workshop.path(&format!("base/{folder}")),
        )
        .unwrap();
    }
}

#[test]
fn a_program_gets_its_arguments_and_gives_its_status() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "@external(erlang, \"native\", \"show\")\npub fn main() -> Nil\n",
    );
    workshop.write(
        "app/src/native.erl",
        "-module(native).\n-export([show/0]).\nshow() -> io:format(\"~p~n\", [init:get_plain_arguments()]), halt(7).\n",
    );
    let outcome = workshop.gleamc(&["run", "--", "one two", "-x"]);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.status),
        ("[\"one two\",\"-x\"]\n", 7)
    );
}

#[test]
fn tests_are_compiled_and_run() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        &format!("{PRINT}pub fn name() {{ \"grüße\" }}\n"),
    );
    workshop.write(
        "app/test/app_test.gleam",
        "import app\nimport deep/helper\npub fn main() { app.print(helper.twice(app.name())) }\n",
    );
    workshop.write(
        "app/test/deep/helper.gleam",
        "pub fn twice(a: String) { a <> a }\n",
    );
    let outcome = workshop.gleamc(&["test"]);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.status),
        ("grüßegrüße", 0),
        "{}",
        outcome.stderr
    );

    let outcome = workshop.gleamc(&["run", "--module", "deep/helper"]);
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("main"), "{}", outcome.stderr);
}

#[test]
fn a_panic_fails_the_run() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "pub fn main() {\n  panic as \"no way\"\n}\n",
    );
    let outcome = workshop.gleamc(&["run"]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.contains("no way") && outcome.stderr.contains("app.main"),
        "{}",
        outcome.stderr
    );
}

/// All that is rewritten for an older OTP, in code that has to run on any.
#[test]
fn what_the_compiler_writes_for_a_newer_otp_runs_on_this_one() {
    let workshop = Workshop::new();
    workshop.write("app/src/app.gleam", &format!(
        "//// Of the \"module\". With \\ and\n////\n//// -doc(x).\n\n\
         import app/internal/hidden\n{PRINT}\n\
         pub type Shape {{\n  Circle(radius: Int)\n}}\n\n\
         /// Says ~\"hi\". Then.\n///\n/// ends(). 'here'\npub fn main() {{\n  \
           let text = \"~\\\"a\\\" % $\\\" \\\\\"\n  case text {{\n    \"~\" <> rest -> print(hidden.id(rest <> \"~\"))\n    _ -> panic\n  }}\n}}\n"
    ));
    workshop.write(
        "app/src/app/internal/hidden.gleam",
        "/// Not documented.\npub fn id(a: a) -> a {\n  a\n}\n",
    );
    let outcome = workshop.gleamc(&["run"]);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.status),
        ("\"a\" % $\" \\~", 0),
        "{}",
        outcome.stderr
    );
    let generated = workshop.read("app/build/dev/erlang/app/_gleam_artefacts/app.erl");
    let line = generated
        .lines()
        .position(|line| line.starts_with("main() ->"))
        .unwrap();
    let file = generated
        .lines()
        .position(|line| line.starts_with("-file(\"src/app.gleam\""))
        .unwrap();
    assert!(file < line, "{generated}");
}

#[test]
fn an_unchanged_project_is_not_compiled_again() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "import leaf\npub fn main() { leaf.one() }\n",
    );
    workshop.write("app/src/leaf.gleam", "pub fn one() { 1 }\n");
    workshop.write("app/src/alone.gleam", "pub fn two() { 2 }\n");
    workshop.write("app/src/native.erl", "-module(native).\n");
    let modules = ["app", "leaf", "alone", "native"];
    let built_at = || modules.map(|module| workshop.built_at(module));
    assert!(workshop.build().stderr.contains("Compiling app"));
    let first = built_at();

    assert!(!workshop.build().stderr.contains("Compiling"));
    assert_eq!(built_at(), first);

    // What imports a changed module is compiled with it, and nothing else.
    workshop.write("app/src/leaf.gleam", "pub fn one() { \"1\" }\n");
    assert!(workshop.build().stderr.contains("Compiling app"));
    let second = built_at();
    assert!(second[0] > first[0] && second[1] > first[1]);
    assert_eq!(second[2..], first[2..]);

    workshop.write(
        "app/src/native.erl",
        "-module(native).\n-export([f/0]).\nf() -> 1.\n",
    );
    workshop.build();
    assert!(built_at()[3] > first[3]);
    assert_eq!(built_at()[..3], second[..3]);
}

#[test]
fn a_module_that_is_gone_is_missed() {
    let workshop = Workshop::new();
    workshop.write(
        "app/src/app.gleam",
        "import leaf\npub fn main() { leaf.one() }\n",
    );
    workshop.write("app/src/leaf.gleam", "pub fn one() { 1 }\n");
    workshop.build();
    fs::remove_file(workshop.path("app/src/leaf.gleam")).unwrap();
    assert!(workshop.build_fails().contains("leaf"));
}

#[test]
fn an_erlang_package_is_built_as_gleam_does_it() {
    let workshop = Workshop::new();
    with_erlang_package(&workshop);
    let outcome = workshop.gleamc(&["run"]);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.status),
        ("started first", 0),
        "{}",
        outcome.stderr
    );

    assert!(!outcome.stderr.contains("Warning"), "{}", outcome.stderr);

    let base = "app/build/dev/erlang/base";
    let app = workshop.read(&format!("{base}/ebin/base.app"));
    for part in [
        "{mod, {'base_app', []}}",
        "{vsn, \"1.2.3\"}",
        "[crypto]",
        "base_deep",
        "base_flat",
    ] {
        assert!(app.contains(part), "{part} is missing in {app}");
    }
    assert_eq!(workshop.read(&format!("{base}/priv/data.txt")), "of base");
    assert!(workshop.path(&format!("{base}/priv")).is_symlink());
    for module in ["base_app", "base_flat", "base_deep"] {
        assert!(
            workshop
                .path(&format!("{base}/ebin/{module}.beam"))
                .exists()
        );
    }
}

#[test]
fn a_changed_header_or_dependency_is_seen() {
    let workshop = Workshop::new();
    with_erlang_package(&workshop);
    workshop.build();
    workshop.write("erlang/src/base.hrl", "-define(VALUE, <<\"second\">>).\n");
    assert_eq!(workshop.gleamc(&["run"]).stdout, "started second");

    let deep = workshop
        .read("erlang/src/deep/base_deep.erl")
        .replace("?VALUE", "<<\"third\">>");
    workshop.write("erlang/src/deep/base_deep.erl", &deep);
    assert_eq!(workshop.gleamc(&["run"]).stdout, "started third");
}

#[test]
fn a_package_from_another_folder_replaces_what_was_built() {
    let workshop = Workshop::new();
    workshop.package("app", "[dependencies]\nbase = \">= 1.0.0 and < 2.0.0\"\n");
    workshop.write(
        "app/src/app.gleam",
        &format!("import base\n{PRINT}pub fn main() {{ print(base.value()) }}\n"),
    );
    for folder in ["one", "two"] {
        workshop.write(
            &format!("{folder}/base/gleam.toml"),
            "name = \"base\"\nversion = \"1.0.0\"\n",
        );
        workshop.write(
            &format!("{folder}/base/src/base.gleam"),
            "@external(erlang, \"base_ffi\", \"value\")\npub fn value() -> String\n",
        );
        workshop.write(
            &format!("{folder}/base/src/base_ffi.erl"),
            &format!("-module(base_ffi).\n-export([value/0]).\nvalue() -> <<\"{folder}\">>.\n"),
        );
    }
    for folder in ["one", "two", "one"] {
        let outcome = workshop.gleamc(&["run", "--standins", &format!("../{folder}")]);
        assert_eq!(outcome.stdout, folder, "{}", outcome.stderr);
    }
}

#[test]
fn a_path_takes_the_place_of_a_stand_in() {
    let workshop = Workshop::new();
    workshop.package(
        "app",
        "[dependencies]\nbase = \">= 1.0.0 and < 2.0.0\"\nmiddle = { path = \"../middle\" }\n",
    );
    workshop.package("middle", "[dependencies]\nbase = { path = \"../base\" }\n");
    workshop.write(
        "middle/src/middle.gleam",
        "import base\npub fn value() { base.value() }\n",
    );
    workshop.package("base", "");
    workshop.write("base/src/base.gleam", "pub fn value() { \"by path\" }\n");
    workshop.write(
        "standins/base/gleam.toml",
        "name = \"base\"\nversion = \"1.0.0\"\n",
    );
    workshop.write(
        "standins/base/src/base.gleam",
        "pub fn value() { \"stand-in\" }\n",
    );
    workshop.write(
        "app/src/app.gleam",
        &format!("import middle\n{PRINT}pub fn main() {{ print(middle.value()) }}\n"),
    );
    let outcome = workshop.gleamc(&["run", "--standins", "../standins"]);
    assert_eq!(outcome.stdout, "by path", "{}", outcome.stderr);
}

#[test]
fn long_and_deep_expressions_are_compiled() {
    let workshop = Workshop::new();
    let long = "1, ".repeat(5_000);
    let deep = format!("{}a{}", "[".repeat(300), "]".repeat(300));
    workshop.write(
        "app/src/app.gleam",
        &format!("pub fn long() {{ [{long}] }}\npub fn deep(a) {{ {deep} }}\n"),
    );
    workshop.build();
}
