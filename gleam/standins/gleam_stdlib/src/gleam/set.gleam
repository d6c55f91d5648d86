//// Members, each once.

import gleam/dict.{type Dict}
import gleam/list

pub opaque type Set(member) {
  Set(dict: Dict(member, List(Nil)))
}

pub fn new() -> Set(member) {
  Set(dict.new())
}

pub fn size(set: Set(member)) -> Int {
  dict.size(set.dict)
}

pub fn is_empty(set: Set(member)) -> Bool {
  dict.is_empty(set.dict)
}

pub fn insert(into set: Set(member), this member: member) -> Set(member) {
  Set(dict.insert(set.dict, member, []))
}

pub fn contains(in set: Set(member), this member: member) -> Bool {
  dict.has_key(set.dict, member)
}

pub fn delete(from set: Set(member), this member: member) -> Set(member) {
  Set(dict.delete(set.dict, member))
}

pub fn to_list(set: Set(member)) -> List(member) {
  dict.keys(set.dict)
}

pub fn from_list(members: List(member)) -> Set(member) {
  list.fold(members, new(), insert)
}

pub fn fold(
  over set: Set(member),
  from initial: acc,
  with reducer: fn(acc, member) -> acc,
) -> acc {
  dict.fold(set.dict, initial, fn(acc, member, _) { reducer(acc, member) })
}

pub fn filter(
  in set: Set(member),
  keeping predicate: fn(member) -> Bool,
) -> Set(member) {
  Set(dict.filter(set.dict, fn(member, _) { predicate(member) }))
}

pub fn map(set: Set(member), with fun: fn(member) -> mapped) -> Set(mapped) {
  from_list(list.map(to_list(set), fun))
}

pub fn drop(
  from set: Set(member),
  drop disallowed: List(member),
) -> Set(member) {
  Set(dict.drop(set.dict, disallowed))
}

pub fn take(
  from set: Set(member),
  keeping desired: List(member),
) -> Set(member) {
  Set(dict.take(set.dict, desired))
}

pub fn union(of first: Set(member), and second: Set(member)) -> Set(member) {
  Set(dict.merge(first.dict, second.dict))
}

pub fn intersection(
  of first: Set(member),
  and second: Set(member),
) -> Set(member) {
  take(first, to_list(second))
}

pub fn difference(
  from first: Set(member),
  minus second: Set(member),
) -> Set(member) {
  drop(first, to_list(second))
}

pub fn is_subset(first: Set(member), of second: Set(member)) -> Bool {
  is_empty(difference(first, second))
}

pub fn is_disjoint(first: Set(member), from second: Set(member)) -> Bool {
  is_empty(intersection(first, second))
}

pub fn symmetric_difference(
  of first: Set(member),
  and second: Set(member),
) -> Set(member) {
  difference(union(first, second), intersection(first, second))
}

pub fn each(set: Set(member), fun: fn(member) -> a) -> Nil {
  list.each(to_list(set), fun)
}
