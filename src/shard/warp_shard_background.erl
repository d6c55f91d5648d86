%% @private Describes tasks that a shard does in the background, for no caller, and that failed at the last attempt.
-module(warp_shard_background).

-export([describe/1, log/4, changed/2, meaning/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([task/0, failing/0, described/0]).

-type task() :: write_behind | checkpoint | empty_wal | erase | compaction | snapshot | seal
              | recycle.
-type failing() :: {task(), Since :: warp_core:micros(), warp_nif:reason()}.
-type described() ::
    #{task := task(), since := warp_core:micros(), error := warp_nif:reason(), meaning := binary()}.

%% @doc The failing tasks as `stats' shows them.
-spec describe([failing()]) -> [described()].
describe(Failing) ->
    [#{task => Task, since => Since, error => Error, meaning => meaning(Task)}
     || {Task, Since, Error} <- Failing].

%% @doc Logs once that a task of What in the context fails, and once that it works again.
-spec log(What :: string(), Context :: binary(), Previous :: [failing()], Now :: [failing()]) -> ok.
log(What, Context, Previous, Now) ->
    {Begun, Ended} = changed(Previous, Now),
    _ = [?LOG_WARNING("Warp: ~ts of context ~ts cannot do its task ~ts: ~0tp. This means: ~ts.",
                      [What, Context, Task, Error, meaning(Task)])
         || {Task, _Since, Error} <- Begun],
    _ = [?LOG_NOTICE("Warp: ~ts of context ~ts can do its task ~ts again", [What, Context, Task]) || Task <- Ended],
    ok.

%% @doc The tasks that fail now and did not fail at the previous check, and the tasks that work again.
-spec changed(Previous :: [failing()], Now :: [failing()]) -> {[failing()], [task()]}.
changed(Same, Same) ->
    {[], []};
changed(Previous, Now) ->
    {[Failing || {Task, _, _} = Failing <- Now, not lists:keymember(Task, 1, Previous)],
     [Task || {Task, _, _} <- Previous, not lists:keymember(Task, 1, Now)]}.

%% @doc What it means for an operator that a task fails: a sentence without a capital and a full stop.
-spec meaning(task()) -> binary().
meaning(write_behind) ->
    <<"Warp cannot bring the journal into the shard's file: memory and the journal grow with each append, and the "
      "next start takes longer. Nothing is lost">>;
meaning(checkpoint) ->
    <<"Warp cannot move the write-ahead log into the shard's file, so the write-ahead log grows. Nothing is lost">>;
meaning(empty_wal) ->
    <<"the write-ahead log and the journal may still hold bytes of deleted entities, or of cleared payloads">>;
meaning(erase) ->
    <<"a deleted entity cannot be read any more, but not all of its rows are overwritten yet. Warp tries again "
      "each second">>;
meaning(compaction) ->
    <<"the space of deleted entities was not given back. Warp tries again at the next start">>;
meaning(snapshot) ->
    <<"snapshots were not stored, so entities take longer to come back into memory. Nothing is lost">>;
meaning(seal) ->
    <<"an append that was reported as failed may show after a crash. This ends with the next commit "
      "that works">>;
meaning(recycle) ->
    <<"Warp cannot give files of the journal back, so the journal grows. Nothing is lost">>.
