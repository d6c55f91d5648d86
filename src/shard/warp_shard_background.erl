%% @private Work that no caller waits for, and that failed when a shard last tried it: what it means,
%% and what of it is new.
-module(warp_shard_background).

-export([describe/1, changed/2, meaning/1]).

-export_type([task/0, failing/0, described/0]).

-type task() :: write_behind | checkpoint | empty_wal | erase | compaction | snapshot | seal.
-type failing() :: {task(), Since :: warp_core:micros(), warp_nif:reason()}.
-type described() ::
    #{task := task(), since := warp_core:micros(), error := warp_nif:reason(), meaning := binary()}.

-spec describe([failing()]) -> [described()].
describe(Failing) ->
    [#{task => Task, since => Since, error => Error, meaning => meaning(Task)}
     || {Task, Since, Error} <- Failing].

%% @doc What fails now and did not before, and which tasks work again.
-spec changed(Before :: [failing()], Now :: [failing()]) -> {[failing()], [task()]}.
changed(Same, Same) ->
    {[], []};
changed(Before, Now) ->
    {[Failing || {Task, _, _} = Failing <- Now, not lists:keymember(Task, 1, Before)],
     [Task || {Task, _, _} <- Before, not lists:keymember(Task, 1, Now)]}.

-spec meaning(task()) -> binary().
meaning(write_behind) ->
    <<"the index of the log is not brought up to date: memory grows with each append, and the next start takes "
      "longer. Nothing is lost">>;
meaning(checkpoint) ->
    <<"the write-ahead log cannot be moved into the shard's file and grows. Nothing is lost">>;
meaning(empty_wal) ->
    <<"bytes of deleted entities, or cleared payloads, may still stand in the write-ahead log">>;
meaning(erase) ->
    <<"a deleted entity cannot be read any more, but not all of its rows are overwritten yet. It is tried again "
      "each second">>;
meaning(compaction) ->
    <<"the room of deleted entities was not given back. It is tried again at the next start">>;
meaning(snapshot) ->
    <<"states were not kept: reading entities back into memory takes longer. Nothing is lost">>;
meaning(seal) ->
    <<"an append that was reported as failed may show after a crash. This ends with the next commit "
      "that works">>.
