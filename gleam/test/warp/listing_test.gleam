//// Lists of entities and of events, and an aggregate under another name.

import gleam/dynamic/decode
import gleam/int
import gleam/list
import gleam/option.{None, Some}
import gleam/string
import warp
import warp/aggregate.{type Aggregate}
import warp/context.{WarpOptions}
import warp/error
import warp/event
import warp/json
import warp/listing
import warp_testing.{with_options}

fn sum(name: String) -> Aggregate(Int, Int, Nil) {
  aggregate.new(name, initial: 0, apply: int.add)
  |> aggregate.codec(
    encode: fn(n) { #("Added", json.object([#("n", json.int(n))])) },
    decode: fn(_type) { decode.at(["n"], decode.int) },
  )
}

fn ids(entities: List(listing.Listed)) -> List(String) {
  list.map(entities, fn(listed) { listed.id })
}

fn all_entities(context, options, page: listing.Entities) -> List(String) {
  case page.next {
    None -> ids(page.entities)
    Some(place) -> {
      let assert Ok(next) = listing.more_entities(context, options, after: place)
      list.append(ids(page.entities), all_entities(context, options, next))
    }
  }
}

pub fn entities_and_events_test() {
  use options <- with_options([aggregate.definition(sum("Sum"))])
  let assert Ok(ctx) = warp.start(WarpOptions(..options, shards: 2))
  list.each(["a/1", "a/2", "b/1"], fn(id) {
    let assert Ok(1) = aggregate.append(warp.entity(ctx, id), sum("Sum"), 3)
  })
  let one = listing.options() |> listing.limit(1)
  let assert Ok(first) = listing.entities(ctx, one)
  assert list.sort(all_entities(ctx, one, first), by: string.compare)
    == ["a/1", "a/2", "b/1"]
  let prefixed = listing.options() |> listing.prefix("b/")
  let assert Ok(listing.Entities([listing.Listed("b/1", 1)], None)) =
    listing.entities(ctx, prefixed)
  let assert Ok(listing.Entities([], None)) =
    listing.entities(ctx, listing.options() |> listing.aggregate("Other"))

  let assert Ok(listing.Events(events:, next:, more: False)) =
    listing.events(ctx, listing.options())
  assert list.length(events) == 3
  let assert Ok(2) = aggregate.append(warp.entity(ctx, "a/1"), sum("Sum"), 4)
  let assert Ok(listing.Events([placed], _, False)) =
    listing.more_events(ctx, listing.options(), after: next)
  assert placed.entity == "a/1"
  assert event.seq(placed.event) == 2
  assert aggregate.decode(sum("Sum"), placed.event) == Ok(4)
  let assert Error(error.BadOption("limit", _)) =
    listing.events(ctx, listing.options() |> listing.limit(0))
  let assert Error(error.UnknownOption("shard")) =
    listing.entities(ctx, listing.options() |> listing.shard(0))
  warp.stop(ctx)

  // The aggregate has another name by now.
  let total = sum("Total") |> aggregate.alias("Sum")
  let assert Ok(ctx) =
    warp.start(WarpOptions(
      ..options,
      shards: 2,
      aggregates: [aggregate.definition(total)],
    ))
  assert aggregate.get(warp.entity(ctx, "a/1"), total) == Ok(7)
  let assert Ok(3) = aggregate.append(warp.entity(ctx, "a/1"), total, 1)
  assert aggregate.get(warp.entity(ctx, "a/1"), total) == Ok(8)
  warp.stop(ctx)
}
