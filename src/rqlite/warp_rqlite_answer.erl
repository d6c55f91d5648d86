%% @private Tells what an answer of rqlite means. Pure.
%%
%% An answer with status 200 may report an error: for one statement in `results', or for the whole request
%% beside it. Answers with other statuses have plain texts and empty bodies.
-module(warp_rqlite_answer).

-export([execute/3, query/2]).

-export_type([elsewhere/0]).

%% This node did nothing, another one may.
-type elsewhere() :: {elsewhere, Why :: term()}.

%% Errors of SQLite for which the statement is not to blame: files, memory, locks.
-define(PASSING, [
    <<"database is locked">>, <<"database table is locked">>, <<"database schema is locked">>,
    <<"disk I/O error">>, <<"database or disk is full">>, <<"unable to open database file">>,
    <<"database disk image is malformed">>, <<"file is not a database">>, <<"out of memory">>,
    <<"interrupted">>, <<"attempt to write a readonly database">>, <<"execute timeout">>,
    <<"context canceled">>, <<"context deadline exceeded">>, <<"bad connection">>,
    <<"driver: bad connection">>, <<"sql: ">>
]).
%% Messages of an rqlite that has done nothing.
-define(NOTHING_DONE, [
    <<"not leader">>, <<"leader not found">>, <<"not ready">>, <<"store is not open">>, <<"not open">>
]).
%% Messages about a request that rqlite cannot read.
-define(UNFIT, [
    <<"invalid JSON">>, <<"invalid request">>, <<"unsupported type">>, <<"invalid number">>,
    <<"no statements">>
]).
-define(LONGEST, 500).

%% @doc The answer to a request that executes Count statements in one transaction. The N in `{refused, N,
%% Message}' counts from 1, and is 0 for the request as a whole.
-spec execute(Status :: integer(), Body :: binary(), Count :: pos_integer()) ->
    ok | {refused, non_neg_integer(), binary()} | {away, term()} | elsewhere().
execute(Status, Body, Count) ->
    case results(Status, Body) of
        {results, Results} -> all_done(Results, 1, Count);
        %% Something on the way does not let it pass; with fewer statements it may fit.
        {unfit, Message} -> {refused, 0, Message};
        Other -> Other
    end.

%% Statements before the one that failed look as if they had been done.
all_done([#{<<"error">> := Message} | _], N, _Count) ->
    case passing(Message) of
        true -> {away, Message};
        false -> {refused, N, Message}
    end;
all_done([#{} | Results], N, Count) -> all_done(Results, N + 1, Count);
all_done([], N, Count) when N =:= Count + 1 -> ok;
all_done(_, _, _) -> {away, incomplete_answer}.

%% @doc The answer to a request with two queries, the first of which nobody asked for. Types are the declared
%% types of the columns, where they are columns of a table.
-spec query(Status :: integer(), Body :: binary()) ->
    {ok, #{columns := [binary()], types := [binary()], values := [[term()]]}}
    | {error, read_only | timeout | {sql_error, binary()}} | {away, term()} | elsewhere().
query(Status, Body) ->
    case results(Status, Body) of
        {results, [_, #{<<"error">> := Message}]} -> query_error(Message);
        %% rqlite leaves empty parts out.
        {results, [_, #{} = Result]} ->
            {ok, #{columns => maps:get(<<"columns">>, Result, []),
                   types => maps:get(<<"types">>, Result, []),
                   values => maps:get(<<"values">>, Result, [])}};
        {results, _} -> {away, incomplete_answer};
        {unfit, Message} -> {error, {sql_error, Message}};
        Other -> Other
    end.

query_error(<<"query timeout">>) -> {error, timeout};
query_error(<<"attempt to change database via query operation">>) -> {error, read_only};
query_error(<<"attempt to write a readonly database">>) -> {error, read_only};
query_error(Message) ->
    case passing(Message) of
        true -> {away, Message};
        false -> {error, {sql_error, Message}}
    end.

results(200, Body) ->
    case warp_json:decode(Body) of
        {ok, #{<<"error">> := <<"disallowed pragma">> = Message}} -> {unfit, Message};
        {ok, #{<<"error">> := Message}} -> of_request(Message);
        {ok, #{<<"results">> := Results}} when is_list(Results) -> {results, Results};
        _ -> {away, {not_an_answer_of_rqlite, short(Body)}}
    end;
results(400, Body) ->
    Message = message(400, Body),
    %% Not everything that says so is an rqlite that has read the request.
    case starts_with_one_of(Message, ?UNFIT) of
        true -> {unfit, Message};
        false -> {away, {http_status, 400, Message}}
    end;
results(413, Body) -> {unfit, message(413, Body)};
results(401, _Body) -> {away, unauthorized};
results(408, _Body) -> {away, timeout};
results(503, Body) -> {elsewhere, message(503, Body)};
results(500, Body) ->
    case binary:match(Body, <<"unsupported value">>) of
        nomatch -> {away, {http_status, 500, short(Body)}};
        _ -> {unfit, <<"a column is infinite, which no Erlang float can be">>}
    end;
results(Status, Body) -> {away, {http_status, Status, short(Body)}}.

of_request(Message) ->
    case lists:member(Message, ?NOTHING_DONE) of
        true -> {elsewhere, Message};
        false -> {away, Message}
    end.

passing(Message) ->
    starts_with_one_of(Message, ?PASSING).

starts_with_one_of(Message, Starts) ->
    lists:any(fun(Start) -> string:prefix(Message, Start) =/= nomatch end, Starts).

message(Status, Body) ->
    case short(Body) of
        <<>> -> <<"HTTP status ", (integer_to_binary(Status))/binary>>;
        Text -> Text
    end.

short(Body) ->
    Text = string:trim(binary:part(Body, 0, min(byte_size(Body), ?LONGEST))),
    case unicode:characters_to_binary(Text) of
        Good when is_binary(Good) -> Good;
        {_, Good, _} -> Good
    end.
