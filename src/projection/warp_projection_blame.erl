%% @private Which events keep a batch from being projected, and in how small pieces the log is read until
%% that is known. Pure.
%%
%% The target refuses a whole batch, which is then read again in smaller pieces whose commands are carried
%% out one by one. A worker that ended in a call of the user's code was ended for it, or is suspected:
%% the event of that call is to blame when a worker ends in it again.
-module(warp_projection_blame).

-export([new/0, forget/1, is_careful/1, reading/1, passed/2]).
-export([refused/4, call/4, convict/3, retreat/2]).

-export_type([blame/0, suspect/0, verdict/0]).

%% How much of the log one batch takes, and one in which an event is looked for.
-define(BATCH_BYTES, 512 * 1024).
-define(CAREFUL_BYTES, 8 * 1024).

%% A call of the user's code: the position of its row (0 while an entity is tried again), the seq of the
%% event, and the kind of call.
-type suspect() :: {non_neg_integer(), warp_core:seq(), warp_projection_user_code:kind()}.

-record(blame, {
    %% Up to which position it is careful, and how many bytes a piece has.
    careful = none :: none | {non_neg_integer(), pos_integer()},
    blamed = #{} :: warp_projection_worker:blamed(),
    suspect = none :: none | suspect()
}).

-opaque blame() :: #blame{}.
-type verdict() ::
    %% The event of that call cannot be projected.
    {guilty, suspect(), Why :: term()}
    %% It is tried once more.
    | {suspected, suspect(), blame()}.

-spec new() -> blame().
new() -> #blame{}.

%% @doc Where to go on is found out from the start. Only the suspicion stays.
-spec forget(blame()) -> blame().
forget(#blame{suspect = Suspect}) -> #blame{suspect = Suspect}.

%% @doc Whether an event is being looked for. Then one batch is written before the next one is read.
-spec is_careful(blame()) -> boolean().
is_careful(#blame{careful = Careful}) -> Careful =/= none.

%% @doc How the next piece of the log is read.
-spec reading(blame()) -> #{bytes := pos_integer(), single := boolean(), blamed := warp_projection_worker:blamed()}.
reading(#blame{careful = none, blamed = Blamed}) ->
    #{bytes => ?BATCH_BYTES, single => false, blamed => Blamed};
reading(#blame{careful = {_, Bytes}, blamed = Blamed}) ->
    #{bytes => Bytes, single => true, blamed => Blamed}.

%% @doc All up to that position is written.
-spec passed(non_neg_integer(), blame()) -> blame().
passed(Position, #blame{careful = {Until, _}}) when Position >= Until -> new();
passed(_Position, Blame) -> Blame.

%% @doc The target refused a batch that ends at that position and has that many rows of the log; Projected are
%% its events that led to commands, and Index is the number of the one to blame among them, if the target
%% could tell. One event is blamed as soon as it is known, or is the only one.
-spec refused({To :: non_neg_integer(), Rows :: non_neg_integer(), Projected :: [{binary(), warp_core:seq()}]},
              Index :: pos_integer() | unknown, Reason :: term(), blame()) -> blame().
refused({To, Rows, Projected}, Index, Reason, #blame{careful = Careful} = Blame) ->
    case Index of
        _ when is_integer(Index) ->
            blame(lists:nth(Index, Projected), Reason, careful(To, ?CAREFUL_BYTES, Blame));
        unknown when Careful =:= none ->
            careful(To, ?CAREFUL_BYTES, Blame);
        unknown when Rows > 1 ->
            careful(To, 1, Blame);
        unknown ->
            blame(hd(Projected), Reason, careful(To, 1, Blame))
    end.

blame(Event, Reason, #blame{blamed = Blamed} = Blame) ->
    Blame#blame{blamed = Blamed#{Event => {refused, Reason}}}.

%% @doc A worker ended in a call of the user's code. Ended: the call that it was ended for, if it was.
-spec call(warp_projection_user_code:where(), Ended :: warp_projection_user_code:where() | none,
           Reason :: term(), blame()) -> verdict().
call({Position, Seq, Kind, _} = Where, Ended, Reason, #blame{suspect = Suspect} = Blame) ->
    case {Position, Seq, Kind} of
        Call when Ended =:= Where ->
            {guilty, Call, {timeout, Kind, warp_projection_watch:call_seconds()}};
        Call when Suspect =:= Call, Reason =:= killed ->
            {guilty, Call, {killed, Kind, warp_projection_worker:max_bytes()}};
        Call when Suspect =:= Call ->
            {guilty, Call, {died, Kind, warp_stray:shape(Reason)}};
        Call ->
            {suspected, Call, (careful(Position, ?CAREFUL_BYTES, Blame))#blame{suspect = Call}}
    end.

%% @doc The event of a call is set aside when its row is read again. At position 0 there is none: the one
%% that tries the entity again is told.
-spec convict(suspect(), Why :: term(), blame()) -> blame().
convict({0, _, _}, _Why, Blame) ->
    Blame#blame{suspect = none};
convict({Position, Seq, Kind}, Why, Blame) ->
    #blame{blamed = Blamed} = Careful = careful(Position, ?CAREFUL_BYTES, Blame),
    Careful#blame{suspect = none, blamed = Blamed#{{at, Position} => {Seq, {ended, Kind, Why}}}}.

%% @doc A worker ended outside of the user's code: perhaps the piece was too large for it. The next row is
%% read alone.
-spec retreat(Position :: non_neg_integer(), blame()) -> blame().
retreat(Position, Blame) -> careful(Position + 1, 1, Blame).

careful(Position, Bytes, #blame{careful = none} = Blame) ->
    Blame#blame{careful = {Position, Bytes}};
careful(Position, Bytes, #blame{careful = {Until, _}} = Blame) ->
    Blame#blame{careful = {max(Until, Position), Bytes}}.
