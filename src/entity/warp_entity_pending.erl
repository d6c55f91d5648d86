%% @private What is pending at one entity, in counters that its process shares with its callers
%% and with the owner of its shard. They go with the process: a caller that dies leaves nothing
%% counted.
-module(warp_entity_pending).

-export([new/0, admit/3, answered/3, close/1, reopen/1, is_closed/1]).
-export([receipt/4, hand_out/1, is_stored/2, want/2]).
-export([use/1, take_used/1]).

-export_type([pending/0, receipt/0]).

-type pending() :: atomics:atomics_ref().
%% What the owner of the shard needs to answer the callers of one submission.
%% As `warp_shard' wants it: the module that hands it out comes first.
-type receipt() :: {?MODULE, pending(), pos_integer(), pid(), [{warp_entity_reply:from(), term()}],
                    Bytes :: non_neg_integer()}.

%% How many bytes of events may wait for one entity.
-define(MAX_BYTES, 64 * 1024 * 1024).

%% Requests not yet answered, in the lower 24 bits, and above them their bytes.
-define(WAITING, 1).
-define(BYTES_FROM_BIT, 24).
%% The number of the last submission that was stored and answered.
-define(STORED, 2).
%% The number of the submission after which the process wants to be woken.
-define(WANTED, 3).
%% 1 when the process takes no more requests.
-define(CLOSED, 4).
%% 1 when its published states were read since the process last looked.
-define(USED, 5).

-spec new() -> pending().
new() ->
    atomics:new(5, []).

%% @doc Counts a request, unless there are too many, or too large ones, already.
-spec admit(pending(), non_neg_integer(), pos_integer()) -> boolean().
admit(Pending, Bytes, Max) ->
    Waiting = atomics:add_get(Pending, ?WAITING, 1 + (Bytes bsl ?BYTES_FROM_BIT)),
    Requests = Waiting band ((1 bsl ?BYTES_FROM_BIT) - 1),
    AllBytes = Waiting bsr ?BYTES_FROM_BIT,
    %% One alone is always let in: its size was limited when it was packed.
    case Requests =< Max andalso (AllBytes =< ?MAX_BYTES orelse AllBytes =:= Bytes) of
        true ->
            true;
        false ->
            ok = answered(Pending, 1, Bytes),
            false
    end.

%% @doc Takes answered requests off again.
-spec answered(pending(), non_neg_integer(), non_neg_integer()) -> ok.
answered(Pending, Requests, Bytes) ->
    atomics:sub(Pending, ?WAITING, Requests + (Bytes bsl ?BYTES_FROM_BIT)).

%% @doc The process takes what is in its mailbox by now, and nothing after it.
-spec close(pending()) -> ok.
close(Pending) ->
    atomics:put(Pending, ?CLOSED, 1).

%% @doc The process stays after all.
-spec reopen(pending()) -> ok.
reopen(Pending) ->
    atomics:put(Pending, ?CLOSED, 0).

%% @doc Whether a request sent before may have come too late to be looked at.
-spec is_closed(pending()) -> boolean().
is_closed(Pending) ->
    atomics:get(Pending, ?CLOSED) =:= 1.

%% @doc What goes with the calling process's submission of that number.
-spec receipt(pending(), pos_integer(), [{warp_entity_reply:from(), term()}], non_neg_integer()) ->
    receipt().
receipt(Pending, Number, Replies, Bytes) ->
    {?MODULE, Pending, Number, self(), Replies, Bytes}.

%% @doc Everything of a submission was stored: answers its callers.
%%
%% NOTE: stored is noted before anyone is answered, so that who was answered reads their write;
%% and before it is looked up whether the process waits, as `want/2' does it the other way round:
%% one of both sees the other.
-spec hand_out(receipt()) -> ok.
hand_out({?MODULE, Pending, Number, Pid, Replies, Bytes}) ->
    ok = atomics:put(Pending, ?STORED, Number),
    ok = answered(Pending, length(Replies), Bytes),
    lists:foreach(fun({From, Reply}) -> warp_entity_reply:reply(From, Reply) end, Replies),
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

%% @doc Asks for `{warp_stored, Number}'. True when it was stored already.
-spec want(pending(), pos_integer()) -> boolean().
want(Pending, Number) ->
    ok = atomics:put(Pending, ?WANTED, Number),
    is_stored(Pending, Number).

%% @doc Tells the process that a state which it published is read. Mostly it knows.
-spec use(pending()) -> ok.
use(Pending) ->
    case atomics:get(Pending, ?USED) of
        1 -> ok;
        0 -> atomics:put(Pending, ?USED, 1)
    end.

%% @doc Whether published states were read since this was last asked.
-spec take_used(pending()) -> boolean().
take_used(Pending) ->
    atomics:exchange(Pending, ?USED, 0) =:= 1.
