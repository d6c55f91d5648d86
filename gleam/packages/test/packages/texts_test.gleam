//// gleam/string, string_tree, uri.

import gleam/option.{None, Some}
import gleam/order.{Lt}
import gleam/string
import gleam/string_tree
import gleam/uri.{Uri}

pub fn parts_of_text_test() {
  assert string.split_once("a=b=c", on: "=") == Ok(#("a", "b=c"))
  assert string.split_once("abc", on: "=") == Error(Nil)
  assert string.slice("grüße", at_index: -3, length: 2) == "üß"
  assert string.slice("grüße", at_index: 9, length: 2) == ""
  assert string.crop("the end", before: "end") == "end"
  assert string.drop_start("grüße", up_to: 2) == "üße"
  assert string.drop_end("grüße", up_to: 2) == "grü"
  assert string.pop_grapheme("üß") == Ok(#("ü", "ß"))
  assert string.pop_grapheme("") == Error(Nil)
  assert string.first("ab") == Ok("a")
  assert string.last("ab") == Ok("b")
  assert string.to_graphemes("äb") == ["ä", "b"]
  assert string.remove_prefix("@ann", "@") == string.remove_suffix("ann!", "!")
  assert string.ends_with("grüße", "ße") && string.starts_with("grüße", "gr")
}

pub fn changed_text_test() {
  assert string.uppercase("grün") == "GRÜN"
  assert string.capitalise("mAMOUNA") == "Mamouna"
  assert string.reverse("äbc") == "cbä"
  assert string.trim("  a b \n") == "a b"
  assert string.trim_start(" a ") <> "|" <> string.trim_end(" a ") == "a | a"
  assert string.pad_start("7", to: 3, with: "0") == "007"
  assert string.pad_end("a", to: 4, with: "-+") == "a-+-"
  assert string.append("a", "b") <> string.concat(["c", "d"]) == "abcd"
  assert string.compare("a", "b") == Lt
  assert string.to_option("") == None
  assert string.is_empty("")
  assert string.byte_size("ü") == 2
  let assert Ok(letter) = string.utf_codepoint(0xFC)
  assert string.from_utf_codepoints([letter]) == "ü"
  assert string.to_utf_codepoints("ü") == [letter]
  assert string.utf_codepoint(0xD800) == Error(Nil)
}

pub fn trees_test() {
  let tree =
    string_tree.from_strings(["a", "b"])
    |> string_tree.append("c")
    |> string_tree.prepend("-")
  assert string_tree.to_string(tree) == "-abc"
  assert string_tree.byte_size(tree) == 4
  assert string_tree.join([tree, tree], with: ",")
    |> string_tree.uppercase
    |> string_tree.replace(each: "B", with: "")
    |> string_tree.to_string
    == "-AC,-AC"
  assert string_tree.is_empty(string_tree.new())
}

pub fn addresses_test() {
  let assert Ok(shop) = uri.parse("HTTPS://ann@Shop.example:81/a/./b?q=1#top")
  assert shop
    == Uri(
      scheme: Some("https"),
      userinfo: Some("ann"),
      host: Some("Shop.example"),
      port: Some(81),
      path: "/a/./b",
      query: Some("q=1"),
      fragment: Some("top"),
    )
  assert uri.to_string(shop) == "https://ann@Shop.example:81/a/./b?q=1#top"
  assert uri.path_segments(shop.path) == ["a", "b"]
  assert uri.origin(shop) == Ok("https://Shop.example:81")
  assert uri.parse("http://a:x") == Error(Nil)
  let assert Ok(other) = uri.parse("../c")
  let assert Ok(merged) = uri.merge(shop, other)
  assert merged.path == "/c"
  assert uri.parse_query("a=1&b=%C3%BC+x&c")
    == Ok([#("a", "1"), #("b", "ü x"), #("c", "")])
  assert uri.query_to_string([#("a b", "1+1")]) == "a%20b=1%2B1"
  assert uri.percent_decode("%zz") == Error(Nil)
}
