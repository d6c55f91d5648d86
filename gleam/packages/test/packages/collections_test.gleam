//// gleam/list, dict and set.

import gleam/dict
import gleam/int
import gleam/list.{Continue, Stop}
import gleam/option.{None, Some}
import gleam/set
import gleam/string

pub fn parts_of_lists_test() {
  let numbers = [3, 1, 2]
  assert list.last(numbers) == Ok(2)
  assert list.take(numbers, 2) == [3, 1]
  assert list.split(numbers, at: 1) == #([3], [1, 2])
  assert list.split_while(numbers, int.is_odd) == #([3, 1], [2])
  assert list.take_while(numbers, int.is_odd) == [3, 1]
  assert list.drop_while(numbers, int.is_odd) == [2]
  assert list.find(numbers, fn(number) { number < 3 }) == Ok(1)
  assert list.contains(numbers, 2) && !list.any(numbers, fn(n) { n > 3 })
  assert list.is_empty([])
  assert list.chunk([1, 3, 2, 5], by: int.is_odd) == [[1, 3], [2], [5]]
  assert list.sized_chunk([1, 2, 3], into: 2) == [[1, 2], [3]]
  assert list.window([1, 2, 3], by: 2) == [[1, 2], [2, 3]]
  assert list.window_by_2([1, 2, 3]) == [#(1, 2), #(2, 3)]
  assert list.group(numbers, by: int.is_odd)
    == dict.from_list([#(True, [1, 3]), #(False, [2])])
}

pub fn folds_of_lists_test() {
  assert list.sort([3, 1, 2], by: int.compare) == [1, 2, 3]
  assert list.reduce([3, 1], int.subtract) == Ok(2)
  assert list.fold_right(["a", "b"], "", string.append) == "ba"
  assert list.fold_until([1, 2, 3], 0, fn(sum, number) {
      case number {
        3 -> Stop(sum)
        _ -> Continue(sum + number)
      }
    })
    == 3
  assert list.scan([1, 2, 3], 0, int.add) == [1, 3, 6]
  assert list.map_fold([1, 2], 10, fn(sum, number) {
      #(sum + number, sum)
    })
    == #(13, [10, 11])
  assert list.max([1, 3, 2], int.compare) == Ok(3)
  assert list.try_each([1, 2], fn(n) { Error(n) }) == Error(1)
}

pub fn lists_of_lists_test() {
  assert list.zip([1, 2, 3], ["a", "b"]) == [#(1, "a"), #(2, "b")]
  assert list.strict_zip([1], []) == Error(Nil)
  assert list.unzip([#(1, "a"), #(2, "b")]) == #([1, 2], ["a", "b"])
  assert list.map2([1, 2], [3, 4], int.add) == [4, 6]
  assert list.intersperse([1, 2], 0) == [1, 0, 2]
  assert list.permutations([1, 2]) == [[1, 2], [2, 1]]
  assert list.combinations([1, 2, 3], 2) == [[1, 2], [1, 3], [2, 3]]
  assert list.combination_pairs([1, 2, 3]) == [#(1, 2), #(1, 3), #(2, 3)]
  assert list.transpose([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]
  assert list.interleave([[1, 2], [3, 4]]) == [1, 3, 2, 4]
  assert list.sort(list.shuffle([1, 2, 3]), int.compare) == [1, 2, 3]
  assert list.wrap(1) == list.prepend([], 1)
}

pub fn keys_of_lists_test() {
  let pairs = [#("a", 1), #("b", 2), #("a", 3)]
  assert list.key_find(pairs, "a") == Ok(1)
  assert list.key_filter(pairs, "a") == [1, 3]
  assert list.key_pop(pairs, "a") == Ok(#(1, [#("b", 2), #("a", 3)]))
  assert list.key_set(pairs, "c", 4) == list.append(pairs, [#("c", 4)])
}

pub fn dict_test() {
  let ages = dict.from_list([#("ann", 30), #("ben", 40)])
  assert dict.has_key(ages, "ann") && !dict.is_empty(ages)
  assert dict.size(ages) == 2
  assert list.sort(dict.keys(ages), string.compare) == ["ann", "ben"]
  assert int.sum(dict.values(ages)) == 70
  assert dict.filter(ages, fn(_, age) { age > 30 })
    == dict.drop(ages, ["ann"])
  assert dict.take(ages, ["ben", "cleo"]) == dict.from_list([#("ben", 40)])
  assert dict.map_values(ages, fn(_, age) { age + 1 }) |> dict.get("ann")
    == Ok(31)
  assert dict.merge(ages, dict.from_list([#("ann", 1)])) |> dict.get("ann")
    == Ok(1)
  assert dict.combine(ages, ages, int.add) |> dict.get("ben") == Ok(80)
  let older = fn(age) {
    case age {
      Some(age) -> age + 1
      None -> 0
    }
  }
  let ages = ages |> dict.upsert("ann", older) |> dict.upsert("cleo", older)
  assert list.map(["ann", "cleo"], dict.get(ages, _)) == [Ok(31), Ok(0)]
}

pub fn set_test() {
  let odd = set.from_list([1, 3, 3])
  let low = set.new() |> set.insert(1) |> set.insert(2)
  assert set.size(odd) == 2
  assert set.contains(odd, 3)
  assert set.union(odd, low) == set.from_list([3, 2, 1])
  assert set.to_list(set.intersection(odd, low)) == [1]
  assert set.difference(odd, low) == set.delete(odd, 1)
  assert set.symmetric_difference(odd, low) == set.from_list([2, 3])
  assert set.is_subset(set.filter(odd, fn(n) { n > 1 }), odd)
  assert set.is_disjoint(odd, set.from_list([2]))
  assert set.fold(odd, 0, int.add) == 4
  assert set.map(odd, int.is_odd) == set.from_list([True])
}
