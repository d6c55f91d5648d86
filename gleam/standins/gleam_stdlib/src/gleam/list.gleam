//// Lists.

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
