//// Lists.

import gleam/dict.{type Dict}
import gleam/order.{type Order, Eq, Gt, Lt}

pub type ContinueOrStop(a) {
  Continue(a)
  Stop(a)
}

@external(erlang, "erlang", "length")
pub fn length(of list: List(a)) -> Int

@external(erlang, "lists", "reverse")
pub fn reverse(list: List(a)) -> List(a)

pub fn first(list: List(a)) -> Result(a, Nil) {
  case list {
    [item, ..] -> Ok(item)
    [] -> Error(Nil)
  }
}

pub fn rest(list: List(a)) -> Result(List(a), Nil) {
  case list {
    [_, ..rest] -> Ok(rest)
    [] -> Error(Nil)
  }
}

@external(erlang, "erlang", "++")
pub fn append(first: List(a), second: List(a)) -> List(a)

@external(erlang, "lists", "append")
pub fn flatten(lists: List(List(a))) -> List(a)

pub fn flat_map(over list: List(a), with fun: fn(a) -> List(b)) -> List(b) {
  flatten(map(list, fun))
}

pub fn map(list: List(a), with fun: fn(a) -> b) -> List(b) {
  case list {
    [] -> []
    [item, ..rest] -> {
      let mapped = fun(item)
      [mapped, ..map(rest, fun)]
    }
  }
}

pub fn index_map(list: List(a), with fun: fn(a, Int) -> b) -> List(b) {
  reverse(
    index_fold(list, [], fn(mapped, item, index) {
      [fun(item, index), ..mapped]
    }),
  )
}

pub fn try_map(
  over list: List(a),
  with fun: fn(a) -> Result(b, e),
) -> Result(List(b), e) {
  let mapped =
    try_fold(list, [], fn(mapped, item) {
      case fun(item) {
        Ok(value) -> Ok([value, ..mapped])
        Error(error) -> Error(error)
      }
    })
  case mapped {
    Ok(mapped) -> Ok(reverse(mapped))
    Error(error) -> Error(error)
  }
}

pub fn filter(list: List(a), keeping predicate: fn(a) -> Bool) -> List(a) {
  filter_map(list, fn(item) {
    case predicate(item) {
      True -> Ok(item)
      False -> Error(Nil)
    }
  })
}

pub fn filter_map(list: List(a), with fun: fn(a) -> Result(b, e)) -> List(b) {
  reverse(
    fold(list, [], fn(kept, item) {
      case fun(item) {
        Ok(value) -> [value, ..kept]
        Error(_) -> kept
      }
    }),
  )
}

pub fn fold(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> acc,
) -> acc {
  case list {
    [] -> initial
    [item, ..rest] -> fold(rest, fun(initial, item), fun)
  }
}

pub fn index_fold(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a, Int) -> acc,
) -> acc {
  let #(folded, _) =
    fold(list, #(initial, 0), fn(state, item) {
      #(fun(state.0, item, state.1), state.1 + 1)
    })
  folded
}

pub fn try_fold(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> Result(acc, e),
) -> Result(acc, e) {
  case list {
    [] -> Ok(initial)
    [item, ..rest] ->
      case fun(initial, item) {
        Ok(next) -> try_fold(rest, next, fun)
        Error(error) -> Error(error)
      }
  }
}

pub fn each(list: List(a), f: fn(a) -> b) -> Nil {
  fold(list, Nil, fn(_, item) {
    f(item)
    Nil
  })
}

pub fn find_map(
  in list: List(a),
  with fun: fn(a) -> Result(b, c),
) -> Result(b, Nil) {
  case list {
    [] -> Error(Nil)
    [item, ..rest] ->
      case fun(item) {
        Ok(value) -> Ok(value)
        Error(_) -> find_map(rest, fun)
      }
  }
}

pub fn all(in list: List(a), satisfying predicate: fn(a) -> Bool) -> Bool {
  case list {
    [] -> True
    [item, ..rest] -> predicate(item) && all(rest, predicate)
  }
}

pub fn count(list: List(a), where predicate: fn(a) -> Bool) -> Int {
  length(filter(list, predicate))
}

pub fn partition(
  list: List(a),
  with categorise: fn(a) -> Bool,
) -> #(List(a), List(a)) {
  let #(yes, no) =
    fold(list, #([], []), fn(parts, item) {
      case categorise(item) {
        True -> #([item, ..parts.0], parts.1)
        False -> #(parts.0, [item, ..parts.1])
      }
    })
  #(reverse(yes), reverse(no))
}

pub fn drop(from list: List(a), up_to n: Int) -> List(a) {
  case list {
    [_, ..rest] if n > 0 -> drop(rest, n - 1)
    _ -> list
  }
}

pub fn repeat(item a: a, times times: Int) -> List(a) {
  case times > 0 {
    True -> [a, ..repeat(a, times - 1)]
    False -> []
  }
}

pub fn unique(list: List(a)) -> List(a) {
  case list {
    [] -> []
    [item, ..rest] -> [
      item,
      ..unique(filter(rest, fn(other) { other != item }))
    ]
  }
}

pub fn is_empty(list: List(a)) -> Bool {
  list == []
}

pub fn contains(list: List(a), any elem: a) -> Bool {
  any(list, fn(item) { item == elem })
}

pub fn any(in list: List(a), satisfying predicate: fn(a) -> Bool) -> Bool {
  !all(list, fn(item) { !predicate(item) })
}

pub fn new() -> List(a) {
  []
}

pub fn wrap(item: a) -> List(a) {
  [item]
}

pub fn prepend(to list: List(a), this item: a) -> List(a) {
  [item, ..list]
}

pub fn last(list: List(a)) -> Result(a, Nil) {
  first(reverse(list))
}

/// The items of each group in reverse order.
pub fn group(list: List(v), by key: fn(v) -> k) -> Dict(k, List(v)) {
  fold(list, dict.new(), fn(groups, item) {
    let key = key(item)
    case dict.get(groups, key) {
      Ok(items) -> dict.insert(groups, key, [item, ..items])
      Error(_) -> dict.insert(groups, key, [item])
    }
  })
}

pub fn map2(
  list1: List(a),
  list2: List(b),
  with fun: fn(a, b) -> c,
) -> List(c) {
  map(zip(list1, list2), fn(pair) { fun(pair.0, pair.1) })
}

pub fn map_fold(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> #(acc, b),
) -> #(acc, List(b)) {
  let #(folded, mapped) =
    fold(list, #(initial, []), fn(state, item) {
      let #(next, value) = fun(state.0, item)
      #(next, [value, ..state.1])
    })
  #(folded, reverse(mapped))
}

pub fn take(from list: List(a), up_to n: Int) -> List(a) {
  split(list, n).0
}

pub fn split(list list: List(a), at index: Int) -> #(List(a), List(a)) {
  split_from(list, index, [])
}

fn split_from(
  list: List(a),
  index: Int,
  taken: List(a),
) -> #(List(a), List(a)) {
  case list {
    [item, ..rest] if index > 0 -> split_from(rest, index - 1, [item, ..taken])
    _ -> #(reverse(taken), list)
  }
}

pub fn split_while(
  list list: List(a),
  satisfying predicate: fn(a) -> Bool,
) -> #(List(a), List(a)) {
  let taken = take_while(list, predicate)
  #(taken, drop(list, length(taken)))
}

pub fn take_while(
  in list: List(a),
  satisfying predicate: fn(a) -> Bool,
) -> List(a) {
  fold_until(list, [], fn(taken, item) {
    case predicate(item) {
      True -> Continue([item, ..taken])
      False -> Stop(taken)
    }
  })
  |> reverse
}

pub fn drop_while(
  in list: List(a),
  satisfying predicate: fn(a) -> Bool,
) -> List(a) {
  split_while(list, predicate).1
}

pub fn fold_right(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> acc,
) -> acc {
  fold(reverse(list), initial, fun)
}

pub fn fold_until(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> ContinueOrStop(acc),
) -> acc {
  case list {
    [] -> initial
    [item, ..rest] ->
      case fun(initial, item) {
        Continue(next) -> fold_until(rest, next, fun)
        Stop(last) -> last
      }
  }
}

pub fn reduce(over list: List(a), with fun: fn(a, a) -> a) -> Result(a, Nil) {
  case list {
    [] -> Error(Nil)
    [item, ..rest] -> Ok(fold(rest, item, fun))
  }
}

pub fn scan(
  over list: List(a),
  from initial: acc,
  with fun: fn(acc, a) -> acc,
) -> List(acc) {
  map_fold(list, initial, fn(acc, item) {
    let next = fun(acc, item)
    #(next, next)
  }).1
}

pub fn find(
  in list: List(a),
  one_that is_desired: fn(a) -> Bool,
) -> Result(a, Nil) {
  find_map(list, fn(item) {
    case is_desired(item) {
      True -> Ok(item)
      False -> Error(Nil)
    }
  })
}

/// As long as the shorter of both.
pub fn zip(list: List(a), with other: List(b)) -> List(#(a, b)) {
  case list, other {
    [one, ..ones], [two, ..twos] -> [#(one, two), ..zip(ones, twos)]
    _, _ -> []
  }
}

pub fn strict_zip(
  list: List(a),
  with other: List(b),
) -> Result(List(#(a, b)), Nil) {
  case length(list) == length(other) {
    True -> Ok(zip(list, other))
    False -> Error(Nil)
  }
}

pub fn unzip(input: List(#(a, b))) -> #(List(a), List(b)) {
  #(map(input, fn(pair) { pair.0 }), map(input, fn(pair) { pair.1 }))
}

@external(erlang, "lists", "join")
fn erlang_join(elem: a, list: List(a)) -> List(a)

pub fn intersperse(list: List(a), with elem: a) -> List(a) {
  erlang_join(elem, list)
}

/// Equal items keep their order.
pub fn sort(list: List(a), by compare: fn(a, a) -> Order) -> List(a) {
  erlang_sort(fn(a, b) { compare(a, b) != Gt }, list)
}

@external(erlang, "lists", "sort")
fn erlang_sort(in_order: fn(a, a) -> Bool, list: List(a)) -> List(a)

pub fn max(
  over list: List(a),
  with compare: fn(a, a) -> Order,
) -> Result(a, Nil) {
  reduce(list, fn(greatest, item) {
    case compare(greatest, item) {
      Lt -> item
      Eq | Gt -> greatest
    }
  })
}

pub fn key_find(
  in keyword_list: List(#(k, v)),
  find desired_key: k,
) -> Result(v, Nil) {
  first(key_filter(keyword_list, desired_key))
}

pub fn key_filter(
  in keyword_list: List(#(k, v)),
  find desired_key: k,
) -> List(v) {
  filter_map(keyword_list, fn(pair) {
    case pair.0 == desired_key {
      True -> Ok(pair.1)
      False -> Error(Nil)
    }
  })
}

pub fn key_pop(
  list: List(#(k, v)),
  key: k,
) -> Result(#(v, List(#(k, v))), Nil) {
  case split_while(list, fn(pair) { pair.0 != key }) {
    #(before, [#(_, value), ..after]) -> Ok(#(value, append(before, after)))
    #(_, []) -> Error(Nil)
  }
}

pub fn key_set(list: List(#(k, v)), key: k, value: v) -> List(#(k, v)) {
  case split_while(list, fn(pair) { pair.0 != key }) {
    #(before, [_, ..after]) -> append(before, [#(key, value), ..after])
    #(before, []) -> append(before, [#(key, value)])
  }
}

pub fn try_each(
  over list: List(a),
  with fun: fn(a) -> Result(b, e),
) -> Result(Nil, e) {
  try_fold(list, Nil, fn(_, item) {
    case fun(item) {
      Ok(_) -> Ok(Nil)
      Error(error) -> Error(error)
    }
  })
}

pub fn window(list: List(a), by n: Int) -> List(List(a)) {
  case n > 0 {
    True -> windows(list, n)
    False -> []
  }
}

fn windows(list: List(a), n: Int) -> List(List(a)) {
  let window = take(list, n)
  case length(window) == n {
    True -> [window, ..windows(drop(list, 1), n)]
    False -> []
  }
}

pub fn window_by_2(list: List(a)) -> List(#(a, a)) {
  zip(list, drop(list, 1))
}

/// Neighbours for which the function gives the same.
pub fn chunk(in list: List(a), by f: fn(a) -> k) -> List(List(a)) {
  case list {
    [] -> []
    [item, ..] -> {
      let key = f(item)
      let #(same, rest) = split_while(list, fn(other) { f(other) == key })
      [same, ..chunk(rest, f)]
    }
  }
}

pub fn sized_chunk(in list: List(a), into count: Int) -> List(List(a)) {
  case list {
    [] -> []
    _ if count < 1 -> sized_chunk(list, 1)
    _ -> {
      let #(chunk, rest) = split(list, count)
      [chunk, ..sized_chunk(rest, count)]
    }
  }
}

pub fn permutations(list: List(a)) -> List(List(a)) {
  case list {
    [] -> [[]]
    _ ->
      index_map(list, fn(item, index) {
        let #(before, after) = split(list, index)
        append(before, drop(after, 1))
        |> permutations
        |> map(prepend(_, item))
      })
      |> flatten
  }
}

pub fn combinations(items: List(a), by n: Int) -> List(List(a)) {
  case items {
    _ if n == 0 -> [[]]
    [] -> []
    [item, ..rest] ->
      combinations(rest, n - 1)
      |> map(prepend(_, item))
      |> append(combinations(rest, n))
  }
}

pub fn combination_pairs(items: List(a)) -> List(#(a, a)) {
  case items {
    [] -> []
    [item, ..rest] ->
      map(rest, fn(other) { #(item, other) })
      |> append(combination_pairs(rest))
  }
}

pub fn interleave(list: List(List(a))) -> List(a) {
  flatten(transpose(list))
}

/// Lists that have ended are left out of the rows that follow.
pub fn transpose(list_of_lists: List(List(a))) -> List(List(a)) {
  case filter(list_of_lists, fn(list) { list != [] }) {
    [] -> []
    lists -> [filter_map(lists, first), ..transpose(map(lists, drop(_, 1)))]
  }
}

pub fn shuffle(list: List(a)) -> List(a) {
  map(list, fn(item) { #(random(), item) })
  |> sort(fn(a, b) {
    case a.0 <. b.0 {
      True -> Lt
      False -> Gt
    }
  })
  |> map(fn(pair) { pair.1 })
}

@external(erlang, "rand", "uniform")
fn random() -> Float

pub fn sample(from list: List(a), up_to n: Int) -> List(a) {
  take(shuffle(list), n)
}
