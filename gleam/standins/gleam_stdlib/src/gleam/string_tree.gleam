//// Text that is put together from parts: on Erlang, chardata.

import gleam/list

pub type StringTree

pub fn new() -> StringTree {
  from_strings([])
}

pub fn prepend(to tree: StringTree, prefix prefix: String) -> StringTree {
  append_tree(from_string(prefix), tree)
}

pub fn append(to tree: StringTree, suffix second: String) -> StringTree {
  append_tree(tree, from_string(second))
}

pub fn prepend_tree(
  to tree: StringTree,
  prefix prefix: StringTree,
) -> StringTree {
  append_tree(prefix, tree)
}

pub fn append_tree(
  to tree: StringTree,
  suffix suffix: StringTree,
) -> StringTree {
  concat([tree, suffix])
}

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn from_strings(strings: List(String)) -> StringTree

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn concat(trees: List(StringTree)) -> StringTree

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn from_string(string: String) -> StringTree

@external(erlang, "unicode", "characters_to_binary")
pub fn to_string(tree: StringTree) -> String

@external(erlang, "erlang", "iolist_size")
pub fn byte_size(tree: StringTree) -> Int

pub fn join(trees: List(StringTree), with sep: String) -> StringTree {
  concat(list.intersperse(trees, from_string(sep)))
}

@external(erlang, "string", "lowercase")
pub fn lowercase(tree: StringTree) -> StringTree

@external(erlang, "string", "uppercase")
pub fn uppercase(tree: StringTree) -> StringTree

@external(erlang, "string", "reverse")
pub fn reverse(tree: StringTree) -> StringTree

@external(erlang, "gleam_string_standin", "split_tree")
pub fn split(tree: StringTree, on pattern: String) -> List(StringTree)

pub fn replace(
  in tree: StringTree,
  each pattern: String,
  with substitute: String,
) -> StringTree {
  from_string(replace_in_string(to_string(tree), pattern, substitute))
}

@external(erlang, "gleam_string_standin", "replace")
fn replace_in_string(in: String, each: String, with: String) -> String

@external(erlang, "string", "equal")
pub fn is_equal(a: StringTree, b: StringTree) -> Bool

@external(erlang, "string", "is_empty")
pub fn is_empty(tree: StringTree) -> Bool
