//// Addresses, as RFC 3986 has them.

import gleam/int
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/result
import gleam/string

pub type Uri {
  Uri(
    scheme: Option(String),
    userinfo: Option(String),
    host: Option(String),
    port: Option(Int),
    path: String,
    query: Option(String),
    fragment: Option(String),
  )
}

pub const empty = Uri(None, None, None, None, "", None, None)

@external(erlang, "gleam_uri_standin", "parse")
pub fn parse(uri_string: String) -> Result(Uri, Nil)

/// A part without `=` has an empty value.
pub fn parse_query(query: String) -> Result(List(#(String, String)), Nil) {
  string.split(query, "&")
  |> list.filter(fn(part) { part != "" })
  |> list.try_map(fn(part) {
    let #(key, value) =
      string.split_once(part, "=") |> result.unwrap(#(part, ""))
    use key <- result.try(decode_form(key))
    use value <- result.map(decode_form(value))
    #(key, value)
  })
}

fn decode_form(text: String) -> Result(String, Nil) {
  percent_decode(string.replace(text, "+", "%20"))
}

pub fn query_to_string(query: List(#(String, String))) -> String {
  list.map(query, fn(pair) {
    encode_form(pair.0) <> "=" <> encode_form(pair.1)
  })
  |> string.join("&")
}

fn encode_form(text: String) -> String {
  string.replace(percent_encode(text), "+", "%2B")
}

@external(erlang, "gleam_uri_standin", "percent_encode")
pub fn percent_encode(value: String) -> String

@external(erlang, "gleam_uri_standin", "percent_decode")
pub fn percent_decode(value: String) -> Result(String, Nil)

/// Without empty segments, and `.` and `..` resolved.
pub fn path_segments(path: String) -> List(String) {
  string.split(path, "/")
  |> list.fold([], fn(segments, segment) {
    case segment {
      "" | "." -> segments
      ".." -> list.drop(segments, 1)
      _ -> [segment, ..segments]
    }
  })
  |> list.reverse
}

pub fn to_string(uri: Uri) -> String {
  let authority = case uri.host {
    None -> ""
    Some(host) ->
      "//"
      <> with(uri.userinfo, "", "@")
      <> host
      <> with(option.map(uri.port, int.to_string), ":", "")
  }
  let slash = case option.unwrap(uri.host, ""), uri.path {
    "", _ -> ""
    _, path ->
      case string.starts_with(path, "/") {
        True -> ""
        False -> "/"
      }
  }
  with(uri.scheme, "", ":")
  <> authority
  <> slash
  <> uri.path
  <> with(uri.query, "?", "")
  <> with(uri.fragment, "#", "")
}

fn with(part: Option(String), before: String, after: String) -> String {
  case part {
    Some(text) -> before <> text <> after
    None -> ""
  }
}

pub fn origin(uri: Uri) -> Result(String, Nil) {
  case uri {
    Uri(scheme: Some(scheme), host: Some(host), port:, ..)
      if scheme == "http" || scheme == "https"
    ->
      case port, scheme {
        Some(80), "http" | Some(443), "https" | None, _ ->
          Ok(scheme <> "://" <> host)
        Some(port), _ ->
          Ok(scheme <> "://" <> host <> ":" <> int.to_string(port))
      }
    _ -> Error(Nil)
  }
}

/// The address that a relative one means where it stands in another.
pub fn merge(base: Uri, relative: Uri) -> Result(Uri, Nil) {
  case base, relative {
    Uri(scheme: Some(_), host: Some(_), ..), Uri(host: Some(_), ..) ->
      Ok(
        Uri(
          ..relative,
          scheme: option.or(relative.scheme, base.scheme),
          path: resolve(relative.path),
        ),
      )
    Uri(scheme: Some(_), host: Some(_), ..), Uri(path: "", ..) ->
      Ok(
        Uri(
          ..base,
          query: option.or(relative.query, base.query),
          fragment: relative.fragment,
        ),
      )
    Uri(scheme: Some(_), host: Some(_), ..), Uri(path:, query:, fragment:, ..) -> {
      let path = case string.starts_with(path, "/") {
        True -> path
        False -> folder(base.path) <> "/" <> path
      }
      Ok(Uri(..base, path: resolve(path), query:, fragment:))
    }
    _, _ -> Error(Nil)
  }
}

fn folder(path: String) -> String {
  string.split(path, "/")
  |> list.reverse
  |> list.drop(1)
  |> list.reverse
  |> string.join("/")
}

fn resolve(path: String) -> String {
  case path_segments(path) {
    [] if path == "" -> ""
    segments -> "/" <> string.join(segments, "/")
  }
}
