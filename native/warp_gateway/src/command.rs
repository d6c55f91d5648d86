//! What the program does beside serving, for the server's start and for people at a shell.

use std::process::ExitCode;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use serde_json::Value;

/// How it is called.
const USAGE: &str = "usage: warp_gateway                        serves, as a port of the VM
       warp_gateway configuration FILE     prints a configuration in TOML as JSON
       warp_gateway token                  makes a token, and prints it and its SHA-256";

/// Does what the arguments say.
pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = match words.as_slice() {
        ["configuration", file] => configuration(file),
        ["token"] => token(),
        _ => Err(USAGE.to_owned()),
    };
    match said {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration in a file, as JSON.
fn configuration(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{file}: {error}"))?;
    Ok(json(toml::Value::Table(table)).to_string())
}

/// A value as JSON. A time is its text, as RFC 3339 has it.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(boolean) => boolean.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, json(value)))
            .collect(),
    }
}

/// A token that nobody can guess, and what the configuration has of it.
fn token() -> Result<String, String> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system has no random numbers".to_owned())?;
    let token = format!("warp_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let hash: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("token   {token}\nsha256  {hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_becomes_json() {
        let table: toml::Table = "a = 1\nb = [true, 2.5]\n[[c]]\nt = 2027-01-01T00:00:00Z"
            .parse()
            .unwrap();
        let expected =
            serde_json::json!({"a": 1, "b": [true, 2.5], "c": [{"t": "2027-01-01T00:00:00Z"}]});
        assert_eq!(json(toml::Value::Table(table)), expected);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token(), token());
    }
}
