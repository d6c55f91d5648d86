%% @private Checks the options of subscriptions.
-module(warp_subscription_options).

-export([subscribe/2, name/1, new_subscriber/4, subscriber/1, subscribers/1]).

-export_type([subscriber/0]).

%% A subscriber as a callback module, before it is checked.
-type subscriber() :: #{name := term(), module := term(), arg := term(), options := term()}.

-define(CREDIT, 1000).
-define(MAX_CREDIT, 100000).
-define(MAX_NAME_BYTES, 200).
-define(MAX_CONSUMERS, 4096).
%% How often a subscriber may fail with an event.
-define(TRIES, 10).
-define(MAX_TRIES, 1000000).

%% @doc Checks the options of `warp_subscription:subscribe/2'. Errors: those of {@link warp_check:options/2}.
-spec subscribe(warp_subscription_cursor:source(), term()) -> {ok, map()} | {error, warp_check:error()}.
subscribe(Source, Options) ->
    Own = [{from, now, fun from/1}, {credit, ?CREDIT, fun credit/1},
           {tag, warp_subscription, fun(Tag) -> {ok, Tag} end}, {convert, none, fun convert/1}
           | warp_subscription_filter:options()],
    Checks =
        case Source of
            {entity, _} -> [Option || {Key, _, _} = Option <- Own, Key =/= prefix];
            {shards, Shards} -> of_context(Shards) ++ Own
        end,
    case warp_check:options(Options, Checks) of
        {ok, #{name := Name, shard := N}} when Name =/= none, N =/= all ->
            {error, {bad_option, shard, not_with_a_name}};
        Checked ->
            Checked
    end.

of_context(Shards) ->
    [{name, none, fun name/1}, {consumers, 1, fun(N) -> warp_check:integer(N, 1, Shards) end},
     {shard, all, fun(all) -> {ok, all}; (N) -> warp_check:integer(N, 0, Shards - 1) end}].

%% @doc A check: the name of a subscription.
-spec name(term()) -> {ok, binary()} | {error, warp_text:problem()}.
name(Name) ->
    case warp_text:check(Name, ?MAX_NAME_BYTES) of
        ok -> {ok, Name};
        {error, _} = Error -> Error
    end.

%% @doc A subscriber, which is not checked yet.
-spec new_subscriber(term(), term(), term(), term()) -> subscriber().
new_subscriber(Name, Module, Arg, Options) ->
    #{name => Name, module => Module, arg => Arg, options => Options}.

%% @doc Checks a subscriber, and fills in its options.
-spec subscriber(term()) -> {ok, subscriber()} | {error, warp_check:wrong()}.
subscriber(#{name := Name, module := Module, arg := _, options := Options} = Subscriber) ->
    Checks = [{from, now, fun from/1}, {consumers, 1, fun(N) -> warp_check:integer(N, 1, ?MAX_CONSUMERS) end},
              {tries, ?TRIES, fun(N) -> warp_check:integer(N, 1, ?MAX_TRIES) end},
              {effects_from, none, fun warp_subscription_effects:option/1} | warp_subscription_filter:options()],
    case {warp_check:one(name, Name, fun name/1), warp_check:one(module, Module, fun module/1)} of
        {{ok, _}, {ok, _}} ->
            case {warp_check:options(Options, Checks), policy(Subscriber)} of
                {{ok, Checked}, ok} -> {ok, Subscriber#{options := Checked}};
                {{error, _} = Error, _} -> Error;
                {_, {error, _} = Error} -> Error
            end;
        {{error, _} = Error, _} -> Error;
        {_, Error} -> Error
    end;
subscriber(Term) ->
    {error, {bad_option, subscriber, {not_a_subscriber, Term}}}.

%% What is wrong with a policy is said at the start, and not when it is called.
policy(#{module := warp_policy, arg := {_Name, React}}) when not is_function(React, 1), not is_function(React, 2) ->
    {error, {bad_option, policy, {not_a_function, 1, 2}}};
policy(_Subscriber) ->
    ok.

module(Module) when is_atom(Module) ->
    case code:ensure_loaded(Module) of
        {module, Module} ->
            case [Callback || {Name, Arity} = Callback <- [{init, 2}, {handle_event, 2}],
                              not erlang:function_exported(Module, Name, Arity)] of
                [] -> {ok, Module};
                [{Name, Arity} | _] -> {error, {not_exported, Name, Arity}}
            end;
        {error, _} ->
            {error, no_such_module}
    end;
module(_) ->
    {error, not_a_module}.

%% @doc A check: a list of subscribers, each with a name of its own.
-spec subscribers(term()) -> {ok, [subscriber()]} | {error, term()}.
subscribers(Given) ->
    subscribers(Given, #{}, []).

subscribers([], _Names, Checked) ->
    {ok, lists:reverse(Checked)};
subscribers([Given | Others], Names, Checked) ->
    case subscriber(Given) of
        {ok, #{name := Name}} when is_map_key(Name, Names) -> {error, {duplicate_name, Name}};
        {ok, #{name := Name} = Subscriber} -> subscribers(Others, Names#{Name => []}, [Subscriber | Checked]);
        {error, {bad_option, subscriber, Why}} -> {error, Why};
        {error, {bad_option, Key, Why}} -> {error, {maps:get(name, Given), Key, Why}};
        {error, {unknown_option, Key}} -> {error, {maps:get(name, Given), Key, unknown_key}}
    end;
subscribers(_, _Names, _Checked) ->
    {error, not_a_list}.

from(From) when From =:= beginning; From =:= now -> {ok, From};
from({cursor, _} = From) -> {ok, From};
from({time, Time} = From) when is_integer(Time), abs(Time) < 1 bsl 63 -> {ok, From};
from(_) -> {error, not_a_beginning}.

credit(demand) -> {ok, demand};
credit(Credit) -> warp_check:integer(Credit, 1, ?MAX_CREDIT).

convert(Convert) when is_function(Convert, 1) -> {ok, Convert};
convert(_) -> {error, {not_a_function, 1}}.
