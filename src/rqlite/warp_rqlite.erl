%% @private The target `rqlite': one or more nodes of a cluster, over HTTP.
%%
%% A write is one request with all its statements, which is one entry of the Raft log. It never goes
%% through rqlite's write queue, which answers before anything is written. A request whose answer was
%% lost may have been carried out, or may be carried out later. So the statements themselves guard
%% against being carried out twice.
-module(warp_rqlite).
-behaviour(warp_projection_target).

-export([check/1, open/2, execute/2, query/4, tidy/1, close/1]).

-record(target, {
    client :: warp_rqlite_http:client(),
    nodes :: tuple(),
    timeout :: pos_integer(),
    level :: warp_rqlite_options:level(),
    %% Shared by all who use the target; see the defines.
    notes :: atomics:atomics_ref()
}).

%% The index of the node that answered last.
-define(NODE, 1).
%% Whether the nodes know the read level `linearizable': 0 unknown, 1 yes, 2 no.
-define(LINEARIZABLE, 2).
%% For how long all nodes are asked again when none would carry a write out. The projection's writer tries
%% again after that. A query has the time that its caller gives it.
-define(PATIENCE_MS, 2000).
-define(PAUSE_MS, 100).
%% How much longer the client waits for the answer to a query than the server may take.
-define(GRACE_MS, 500).

-spec check(map()) -> {ok, warp_rqlite_options:config()} | {error, term()}.
check(Given) ->
    warp_rqlite_options:check(Given).

-spec open(warp_rqlite_options:config(), warp_projection_target:about()) ->
    {ok, #target{}} | {error, term()}.
open(#{nodes := Nodes, timeout := Timeout, level := Level} = Config, _About) ->
    case warp_rqlite_http:start(Config) of
        {ok, Client} ->
            Notes = atomics:new(2, []),
            ok = atomics:put(Notes, ?NODE, 1),
            {ok, #target{client = Client, nodes = list_to_tuple(Nodes), timeout = Timeout,
                         level = Level, notes = Notes}};
        {error, _} = Error ->
            Error
    end.

-spec close(#target{}) -> ok.
close(#target{client = Client}) ->
    warp_rqlite_http:stop(Client).

%% Deleted rows stay in the pages of the database until these are used again, and in the Raft log until
%% rqlite's next snapshots. A client cannot change that.
-spec tidy(#target{}) -> ok.
tidy(#target{}) ->
    ok.

-spec execute(#target{}, [warp_projection_target:statement()]) ->
    ok | {error, {refused, non_neg_integer(), binary()} | {away, term()}}.
execute(_Target, []) ->
    ok;
execute(#target{timeout = Timeout} = Target, Statements) ->
    case warp_rqlite_sql:request(Statements) of
        {ok, Body, Of} ->
            Path = "/db/execute?transaction&noparse&timeout=" ++ millis(Timeout),
            Judge = fun(Status, Answer) -> warp_rqlite_answer:execute(Status, Answer, length(Of)) end,
            case ask(Target, {write, Path, Body, Timeout, Judge}, now_ms() + Timeout) of
                ok -> ok;
                {refused, 0, Message} -> {error, {refused, 0, Message}};
                {refused, Element, Message} -> {error, {refused, lists:nth(Element, Of), Message}};
                {away, Why} -> {error, {away, Why}}
            end;
        {error, _} = Error ->
            Error
    end.

-spec query(#target{}, binary(), [warp_projection_target:value()], warp_projection_target:query_options()) ->
    {ok, warp_projection_target:result()} | {error, term()}.
query(Target, Sql, Params, #{max_rows := MaxRows, timeout := Timeout, level := Wanted}) ->
    Until = now_ms() + Timeout,
    case warp_rqlite_sql:query(Sql, Params) of
        {ok, Query} ->
            case level(Target, Wanted, Until) of
                {ok, Level} -> columns(Target, Query, MaxRows, {schema_level(Level), Level}, Until);
                {away, _} = Away -> {error, Away}
            end;
        {error, _} = Error ->
            Error
    end.

%% A node can tell the columns of a query at once, so a node that does not answer is detected here.
columns(#target{timeout = Timeout} = Target, Query, MaxRows, {SchemaLevel, Level} = Levels, Until) ->
    Request = warp_rqlite_sql:columns_request(Query),
    case read(Target, Request, SchemaLevel, Timeout, Until) of
        {ok, #{columns := []}} ->
            {error, {sql_error, <<"a query without columns">>}};
        {ok, #{columns := Columns, types := Types}} ->
            Rows = warp_rqlite_sql:rows_request(Query, length(Columns), MaxRows),
            case read(Target, Rows, Level, infinity, Until) of
                {ok, #{values := Values}} ->
                    warp_rqlite_sql:rows(Columns, Types, Values, MaxRows);
                %% A column was added between the two requests.
                {error, {sql_error, <<"table warp_query has ", _/binary>>}} ->
                    columns(Target, Query, MaxRows, Levels, Until);
                {error, _} = Error -> Error
            end;
        %% NOTE: a node that has just started answers a weak read before it has read all of its own log, and
        %% lacks tables then. Whether the query is wrong is asked at the level of the query.
        {error, {sql_error, _}} when SchemaLevel =/= Level ->
            columns(Target, Query, MaxRows, {Level, Level}, Until);
        {error, {sql_error, Message}} ->
            {error, what_is_wrong(Target, Query, Message, Until)};
        {error, _} = Error ->
            Error
    end.

%% A statement that is no query would write.
what_is_wrong(#target{timeout = Timeout} = Target, Query, Message, Until) ->
    case binary:match(Message, <<"syntax error">>) of
        nomatch ->
            {sql_error, Message};
        _ ->
            Request = warp_rqlite_sql:is_statement_request(Query),
            case read(Target, Request, none, Timeout, Until) of
                {ok, _} -> read_only;
                {error, {away, _}} -> {sql_error, Message};
                {error, Why} -> Why
            end
    end.

%% Columns need not be as fresh as rows, unless something is wrong with them.
schema_level(none) -> none;
schema_level(auto) -> auto;
schema_level(_) -> weak.

read(Target, Request, Level, Longest, Until) ->
    case {Request, Until - now_ms()} of
        {{error, Why}, _} ->
            {error, {bad_params, Why}};
        {_, Left} when Left =< 0 ->
            {error, timeout};
        {{ok, Body}, Left} ->
            Within = min(Left, Longest),
            Path = lists:concat(["/db/query?noparse&level=", Level, "&db_timeout=", millis(Within),
                                 "&timeout=", millis(Within)]),
            Judge = fun warp_rqlite_answer:query/2,
            case ask(Target, {read, Path, Body, min(Within + ?GRACE_MS, warp_deadline:longest()), Judge}, Until) of
                {away, timeout} -> {error, timeout};
                {away, _} = Away -> {error, Away};
                Answer -> Answer
            end
    end.

%% A node that does not know `linearizable' would read `weak' in silence; `strong' promises more.
level(#target{level = Level} = Target, default, Until) -> level(Target, Level, Until);
level(Target, linearizable, Until) ->
    case atomics:get(Target#target.notes, ?LINEARIZABLE) of
        1 -> {ok, linearizable};
        2 -> {ok, strong};
        0 -> probe(Target, Until)
    end;
level(_Target, Level, _Until) ->
    {ok, Level}.

%% A node that knows it refuses a bad value of its parameter.
probe(#target{notes = Notes, timeout = Timeout} = Target, Until) ->
    Path = "/db/query?level=none&linearizable_timeout=x",
    Judge = fun(200, _) -> 2;
               (Status, Body) ->
                    case binary:match(Body, <<"linearizable_timeout">>) of
                        nomatch -> warp_rqlite_answer:execute(Status, Body, 1);
                        _ -> 1
                    end
            end,
    case ask(Target, {read, Path, <<"[\"SELECT 1\"]">>, Timeout, Judge}, Until) of
        {away, _} = Away -> Away;
        {refused, _, Message} -> {away, Message};
        Known ->
            ok = atomics:put(Notes, ?LINEARIZABLE, Known),
            {ok, case Known of 1 -> linearizable; 2 -> strong end}
    end.

%% Asks the node that answered last, and then the others, for as long as no node has done anything.
%% A write is not sent again once a node may have seen it.
ask(#target{notes = Notes, nodes = Nodes} = Target, {Kind, _, _, _, _} = Request, Until) ->
    First = atomics:get(Notes, ?NODE),
    Rounds = case Kind of write -> min(Until, now_ms() + ?PATIENCE_MS); read -> Until end,
    ask_each(Target, Request, {Rounds, Until}, First, tuple_size(Nodes)).

%% Left is how many nodes are still to be asked in this round. A round begins before `Rounds', and ends by
%% `Until'.
ask_each(Target, {Kind, Path, Body, Within, Judge} = Request, {Rounds, Until} = By, Index, Left) ->
    #target{client = Client, nodes = Nodes, notes = Notes} = Target,
    Node = element(Index, Nodes),
    Asked = case warp_rqlite_http:post(Client, Node, Path, Body, Within) of
                {ok, Status, Answer} -> judged(Kind, Judge(Status, Answer));
                {error, {unanswered, Why}} when Kind =:= write -> {lost, Why};
                {error, {unanswered, {too_large, Max}}} -> {error, {result_too_large, Max}};
                {error, {_, Why}} -> {elsewhere, Why}
            end,
    Next = Index rem tuple_size(Nodes) + 1,
    Now = now_ms(),
    case Asked of
        {elsewhere, _} when Left > 1, Now < Until ->
            ask_each(Target, Request, By, Next, Left - 1);
        {elsewhere, Reason} ->
            case Now + ?PAUSE_MS < Rounds andalso may_pass(Reason) of
                true ->
                    timer:sleep(?PAUSE_MS),
                    ask_each(Target, Request, By, Next, tuple_size(Nodes));
                false when Reason =:= timeout, Now >= Until ->
                    away(Target, Next, timeout);
                false ->
                    away(Target, Next, {at(Node), Reason})
            end;
        {lost, Reason} ->
            away(Target, Next, {at(Node), no_answer, Reason});
        {away, Reason} ->
            away(Target, Next, {at(Node), Reason});
        Answered ->
            ok = atomics:put(Notes, ?NODE, Index),
            Answered
    end.

%% A query may always be asked again: the nodes elect another leader.
judged(read, {away, Message}) when is_binary(Message) -> {elsewhere, Message};
judged(_Kind, Judged) -> Judged.

away(#target{notes = Notes}, Next, Why) ->
    ok = atomics:put(Notes, ?NODE, Next),
    {away, Why}.

%% A certificate that is wrong stays wrong.
may_pass({tls, _, _}) -> false;
may_pass(_) -> true.

at(Node) -> unicode:characters_to_binary(Node).

millis(Ms) -> integer_to_list(Ms) ++ "ms".

now_ms() -> erlang:monotonic_time(millisecond).
