%% @private Opens files for an owner again and again until that works: those of a shard, or of the journal. Pure but for
%% its log messages, its replies, and the timer of the next attempt, which sends `open' to the owner.
-module(warp_shard_opening).

-export([new/0, ask/2, attempt/3, tell/1, report/3]).

-export_type([opening/0]).

%% The pause between two attempts to open files that the previous owner has not closed yet, and how long these
%% attempts go on.
-define(CLAIM_PAUSE_MS, 5).
-define(CLAIM_PATIENCE_MS, 30000).
%% The shortest and the longest pause before another attempt after another error.
-define(RETRY_MIN_MS, 100).
-define(RETRY_MAX_MS, 5000).

-include_lib("kernel/include/logger.hrl").

-record(opening, {
    %% What the last attempt came to.
    result = {error, not_opened} :: {ok, term()} | {error, term()},
    %% Until when the previous owner may take to close the files, and the callers that wait for the result.
    claim_until = none :: none | integer(),
    asking = [] :: [gen_server:from()],
    %% The reason in the last warning.
    warned :: term(),
    retry_ms = ?RETRY_MIN_MS :: pos_integer()
}).

-opaque opening() :: #opening{}.

%% @doc Before the first attempt.
-spec new() -> opening().
new() ->
    #opening{}.

%% @doc The result of the last attempt; or `later', while the previous owner has the files: then the caller gets the
%% result when it is there.
-spec ask(gen_server:from(), opening()) -> {{ok, term()} | {error, term()} | later, opening()}.
ask(From, #opening{claim_until = Until, asking = Asking} = Opening) when Until =/= none ->
    {later, Opening#opening{asking = [From | Asking]}};
ask(_From, #opening{result = Result} = Opening) ->
    {Result, Opening}.

%% @doc Makes an attempt. Its results: `opened'; `failed', and another attempt comes later; or `waiting', while the
%% previous owner has the files. `Claimed' is the reason when that takes too long.
%%
%% NOTE: while a previous owner has the files the owner does not wait, but goes back to its mailbox. When its supervisor
%% has ended it has to end too, and must not compete with its successor for the files.
-spec attempt(fun(() -> {ok, Handle} | {error, term()}), Claimed :: term(), opening()) ->
    {{opened, Handle} | {failed, term()} | waiting, opening()}.
attempt(Open, Claimed, #opening{claim_until = Until, retry_ms = Retry} = Opening) ->
    Now = erlang:monotonic_time(millisecond),
    case Open() of
        {ok, Handle} = Opened ->
            {{opened, Handle}, Opening#opening{result = Opened, claim_until = none, retry_ms = ?RETRY_MIN_MS}};
        {error, claimed} when Until =:= none; Now < Until ->
            _ = erlang:send_after(?CLAIM_PAUSE_MS, self(), open),
            {waiting, Opening#opening{claim_until = case Until of none -> Now + ?CLAIM_PATIENCE_MS; _ -> Until end}};
        {error, Why} ->
            Reason = case Why of claimed -> Claimed; _ -> Why end,
            _ = erlang:send_after(Retry, self(), open),
            {{failed, Reason}, Opening#opening{result = {error, Reason}, claim_until = none,
                                               retry_ms = min(2 * Retry, ?RETRY_MAX_MS)}}
    end.

%% @doc Gives callers that wait the result of an attempt that was not `waiting', once the owner has done what follows
%% from it.
-spec tell(opening()) -> opening().
tell(#opening{asking = Asking, result = Result} = Opening) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Result) end, Asking),
    Opening#opening{asking = []}.

%% @doc Logs what a later attempt came to: each reason once, and that What of the context is open again.
-spec report(What :: string(), Context :: binary(), opening()) -> opening().
report(_What, _Context, #opening{claim_until = Until} = Opening) when Until =/= none ->
    Opening;
report(_What, _Context, #opening{result = {error, Reason}, warned = Reason} = Opening) ->
    Opening;
report(What, Context, #opening{result = {error, Reason}} = Opening) ->
    ?LOG_WARNING("Warp: ~ts of context ~ts cannot be opened. Warp tries again until it can. ~ts",
                 [What, Context, warp_error:format_error(Reason)]),
    Opening#opening{warned = Reason};
report(_What, _Context, #opening{warned = undefined} = Opening) ->
    Opening;
report(What, Context, Opening) ->
    ?LOG_NOTICE("Warp: ~ts of context ~ts is open again", [What, Context]),
    Opening#opening{warned = undefined}.
