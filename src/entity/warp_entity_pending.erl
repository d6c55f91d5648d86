%% @private Counts what is pending at one entity, in counters that its process shares with its callers and with the
%% owner of its shard. The counters belong to the process, so nothing stays counted after it has ended.
-module(warp_entity_pending).

-export([new/0, admit/3, answered/3, close/1, reopen/1, is_closed/1]).
-export([receipt/4, hand_out/1, is_stored/2, is_answered/2, want/2]).
-export([use/1, take_used/1]).
-export([is_watched_by/2, watched_by/2]).

-export_type([pending/0, receipt/0]).

-type pending() :: atomics:atomics_ref().
%% Holds what the owner of the shard needs to answer the callers of one submission. `warp_shard' expects the module
%% that hands it out as the first element.
-type receipt() :: {?MODULE, pending(), pos_integer(), pid(), [{warp_entity_reply:from(), term()}],
                    Bytes :: non_neg_integer()}.

%% How many bytes of events may wait for one entity.
-define(MAX_BYTES, 64 * 1024 * 1024).

%% The number of requests that are not answered yet in the lower 24 bits, and above them their bytes.
-define(WAITING, 1).
-define(BYTES_FROM_BIT, 24).
%% The number of the last submission that was stored.
-define(STORED, 2).
%% The number of the submission after which the process wants to be woken.
-define(WANTED, 3).
%% 1 when the process takes no more requests.
-define(CLOSED, 4).
%% 1 when published states were read since the process last looked.
-define(USED, 5).
%% The number of the process that notices when this one is killed, see `warp_requests'.
-define(WATCHED_BY, 6).
%% The number of the last submission whose callers were all answered.
-define(ANSWERED, 7).

%% @doc The counters of a process that starts.
-spec new() -> pending().
new() ->
    atomics:new(7, []).

%% @doc Counts a request with so many bytes. False, and not counted, when more than Max requests or 64 MiB would be
%% pending.
-spec admit(pending(), Bytes :: non_neg_integer(), Max :: pos_integer()) -> boolean().
admit(Pending, Bytes, Max) ->
    Waiting = atomics:add_get(Pending, ?WAITING, 1 + (Bytes bsl ?BYTES_FROM_BIT)),
    Requests = Waiting band ((1 bsl ?BYTES_FROM_BIT) - 1),
    AllBytes = Waiting bsr ?BYTES_FROM_BIT,
    %% One request alone always gets in: its size was limited when it was packed.
    case Requests =< Max andalso (AllBytes =< ?MAX_BYTES orelse AllBytes =:= Bytes) of
        true ->
            true;
        false ->
            ok = answered(Pending, 1, Bytes),
            false
    end.

%% @doc Subtracts requests that were answered, and their bytes.
-spec answered(pending(), non_neg_integer(), non_neg_integer()) -> ok.
answered(Pending, Requests, Bytes) ->
    atomics:sub(Pending, ?WAITING, Requests + (Bytes bsl ?BYTES_FROM_BIT)).

%% @doc Says that the process takes only the requests that are in its mailbox by now.
-spec close(pending()) -> ok.
close(Pending) ->
    atomics:put(Pending, ?CLOSED, 1).

%% @doc Says that the process stays after all.
-spec reopen(pending()) -> ok.
reopen(Pending) ->
    atomics:put(Pending, ?CLOSED, 0).

%% @doc Whether a request that the caller has sent may have come too late.
-spec is_closed(pending()) -> boolean().
is_closed(Pending) ->
    atomics:get(Pending, ?CLOSED) =:= 1.

%% @doc The receipt for the submission of that number, by the calling process: the replies to its callers, and how
%% many bytes their requests have.
-spec receipt(pending(), pos_integer(), [{warp_entity_reply:from(), term()}], non_neg_integer()) ->
    receipt().
receipt(Pending, Number, Replies, Bytes) ->
    {?MODULE, Pending, Number, self(), Replies, Bytes}.

%% @doc Answers the callers of a submission that was stored. The owner of the shard calls this.
%%
%% NOTE: this sets STORED before it answers, so that a caller that has its answer also reads its write. And it sets
%% STORED before it reads WANTED, while {@link want/2} sets WANTED before it reads STORED: so at least one of the
%% two sees what the other has set, and the process is woken or sees that its submission is stored.
-spec hand_out(receipt()) -> ok.
hand_out({?MODULE, Pending, Number, Pid, Replies, Bytes}) ->
    ok = atomics:put(Pending, ?STORED, Number),
    ok = answered(Pending, length(Replies), Bytes),
    lists:foreach(fun({From, Reply}) -> warp_entity_reply:reply(From, Reply) end, Replies),
    ok = atomics:put(Pending, ?ANSWERED, Number),
    case atomics:get(Pending, ?WANTED) of
        Number ->
            Pid ! {warp_stored, Number},
            ok;
        _ ->
            ok
    end.

%% @doc Whether the submission of that number was stored.
-spec is_stored(pending(), pos_integer()) -> boolean().
is_stored(Pending, Number) ->
    atomics:get(Pending, ?STORED) >= Number.

%% @doc Whether the callers of the submission of that number, which was stored, have got their answers.
-spec is_answered(pending(), non_neg_integer()) -> boolean().
is_answered(Pending, Number) ->
    atomics:get(Pending, ?ANSWERED) >= Number.

%% @doc Has the owner of the shard send `{warp_stored, Number}' to the process when that submission is stored. True
%% when it is stored already; the message may come all the same.
-spec want(pending(), pos_integer()) -> boolean().
want(Pending, Number) ->
    ok = atomics:put(Pending, ?WANTED, Number),
    is_stored(Pending, Number).

%% @doc Says that a published state was read. Writes only if the flag is not set yet, since readers share it.
-spec use(pending()) -> ok.
use(Pending) ->
    case atomics:get(Pending, ?USED) of
        1 -> ok;
        0 -> atomics:put(Pending, ?USED, 1)
    end.

%% @doc Whether published states were read since the last call of this function.
-spec take_used(pending()) -> boolean().
take_used(Pending) ->
    atomics:exchange(Pending, ?USED, 0) =:= 1.

%% @doc Whether the process that has this number has been asked to watch this one.
-spec is_watched_by(pending(), pos_integer()) -> boolean().
is_watched_by(Pending, Number) ->
    atomics:get(Pending, ?WATCHED_BY) =:= Number.

%% @doc Notes that the process that has this number has been asked to watch this one.
-spec watched_by(pending(), pos_integer()) -> ok.
watched_by(Pending, Number) ->
    atomics:put(Pending, ?WATCHED_BY, Number).
