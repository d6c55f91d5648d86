%% @private What a token may do. Pure.
%%
%% A call needs a permission: an operation in a context, on something there. A scope gives permissions, and a token may
%% do what any one of its scopes gives.
-module(warp_server_scope).

-export([operations/0, allows/2, within/2, only_context/2, from_json/1, to_json/1]).

-export_type([scope/0, operation/0, permission/0, subject/0]).

-type operation() :: read | append | export | delete | command | list | query | saga | stats | subscribe.
-type scope() :: #{
    operations := all | [operation()],
    context := all | binary(),
    %% What the ids of entities begin with.
    prefix := binary(),
    aggregates := all | [binary()]
}.
-type permission() :: {operation(), Context :: binary(), subject()}.
-type subject() ::
    %% An entity, and of which aggregates. `none': nothing of any aggregate is shown.
    {entity, Id :: binary(), all | none | [binary()]}
    %% All entities whose ids begin so.
    | {prefix, binary(), all | [binary()]}
    %% Everything of the context.
    | whole.

%% @doc Everything that a token can be allowed to do.
-spec operations() -> [operation()].
operations() ->
    [read, append, export, delete, command, list, query, saga, stats, subscribe].

%% @doc Whether one of the scopes gives the permission.
-spec allows([scope()], permission()) -> boolean().
allows(Scopes, Permission) ->
    lists:any(fun(Scope) -> gives(Scope, Permission) end, Scopes).

gives(#{operations := Operations, context := In, prefix := Prefix, aggregates := Aggregates},
      {Operation, Context, Subject}) ->
    (Operations =:= all orelse lists:member(Operation, Operations))
        andalso (In =:= all orelse In =:= Context)
        andalso covers(Prefix, Aggregates, Subject).

covers(<<>>, all, whole) -> true;
covers(_, _, whole) -> false;
covers(Prefix, _, {entity, Id, none}) -> begins(Id, Prefix);
covers(Prefix, Aggregates, {_, Start, Wanted}) -> begins(Start, Prefix) andalso subset(Wanted, Aggregates).

begins(Text, Prefix) ->
    Size = byte_size(Prefix),
    case Text of
        <<Prefix:Size/binary, _/binary>> -> true;
        _ -> false
    end.

subset(_, all) -> true;
subset(all, _) -> false;
subset(Some, Names) -> lists:all(fun(Name) -> lists:member(Name, Names) end, Some).

%% @doc Whether everything that the first scopes give is given by single ones of the others.
-spec within([scope()], [scope()]) -> boolean().
within(Narrow, Wide) ->
    lists:all(fun(Scope) -> lists:any(fun(Other) -> is_within(Scope, Other) end, Wide) end, Narrow).

is_within(#{operations := Operations, context := In, prefix := Prefix, aggregates := Aggregates},
          #{operations := Others, context := OtherIn, prefix := OtherPrefix, aggregates := OtherAggregates}) ->
    subset(Operations, Others) andalso (OtherIn =:= all orelse In =:= OtherIn)
        andalso begins(Prefix, OtherPrefix) andalso subset(Aggregates, OtherAggregates).

%% @doc The only one of these contexts that the scopes are about, for calls that name none.
-spec only_context([binary()], [scope()]) -> {ok, binary()} | none.
only_context(Names, Scopes) ->
    case [Name || Name <- Names, lists:any(fun(#{context := Of}) -> Of =:= all orelse Of =:= Name end, Scopes)] of
        [Name] -> {ok, Name};
        _ -> none
    end.

%% @doc A scope as JSON has it: a member that is missing stands for everything.
-spec from_json(term()) -> {ok, scope()} | error.
from_json(#{} = Given) ->
    try
        0 = map_size(maps:without([<<"operations">>, <<"context">>, <<"prefix">>, <<"aggregates">>], Given)),
        {ok, #{operations => operations(maps:get(<<"operations">>, Given, all)),
               context => text(maps:get(<<"context">>, Given, all)),
               prefix => prefix(maps:get(<<"prefix">>, Given, <<>>)),
               aggregates => texts(maps:get(<<"aggregates">>, Given, all))}}
    catch
        error:_ -> error
    end;
from_json(_) ->
    error.

operations(all) -> all;
operations(Names) -> [operation(Name) || Name <- Names].

operation(Name) ->
    [Operation] = [Operation || Operation <- operations(), atom_to_binary(Operation) =:= Name],
    Operation.

text(all) -> all;
text(Text) when is_binary(Text) -> Text.

prefix(Text) when is_binary(Text) -> Text.

texts(all) -> all;
texts(Names) -> [text(Name) || Name <- Names, is_binary(Name) orelse error(badarg)].

%% @doc The same the other way round.
-spec to_json(scope()) -> map().
to_json(Scope) ->
    maps:filter(fun(_, Value) -> Value =/= all end, Scope).
