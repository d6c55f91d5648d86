%% @private The plan of a saga: what a caller built, checked, and as the first row of its log.
%%
%% That row holds the event `Planned' and then, for each step, `Forward' and `Reverse', whose
%% payloads are those of the user and nothing else: so they can be cleared, one by one, and then
%% their type is `Cleared'.
-module(warp_saga_plan).

-export([new/1, step/2, parallel/2, build/3]).
-export([rules/0, check_id/1, entity_id/1, function/3, from_events/2, event_id/3, seqs/1]).
-export([kind/0, infixes/0, cleared_types/0]).

-export_type([saga/0, plan/0, step/0, action/0, hash/0]).

%% What a caller builds: the groups, last first, each with its steps.
-opaque saga() :: {warp_saga, Id :: term(), [[term()] | {not_a_list, term()}]}.
-type plan() :: #{
    id := binary(),
    %% In order, numbered from 0.
    steps := [step()],
    %% Of the steps' numbers, in order. The steps of one group go side by side.
    groups := [[non_neg_integer(), ...]],
    deadline := warp_core:micros() | infinity,
    retries := non_neg_integer(),
    %% Tells other steps under the same id; the payloads may be gone by then.
    hash := hash()
}.
%% Of the steps: see `warp_saga_hash'.
-type hash() :: binary() | non_neg_integer().
-type step() :: #{
    n := non_neg_integer(),
    entity := binary(),
    aggregate := binary(),
    %% `default' only in logs of before aggregates had to be known.
    schema_vsn := pos_integer() | default,
    forward := action(),
    compensate := action()
}.
-type action() ::
    {event, Type :: binary(), Payload :: map()}
    | {run, Name :: binary(), Args :: map()}
    %% What it was does not stand in the log any more.
    | cleared.

-define(PREFIX, "$warp/saga/").
-define(AGGREGATE, <<"$warp/saga">>).
-define(CLOSING, <<"$warp/saga/end">>).
%% What stands between the id of a saga and the number of a step, in the ids of the events of steps.
-define(FORWARD, "/fwd/").
-define(REVERSE, "/comp/").
-define(MAX_ID_BYTES, 500).
-define(MAX_ENTITY_BYTES, 512).
-define(MAX_STEPS, 1000).
-define(MAX_NAME_BYTES, 512).

-spec new(term()) -> saga().
new(Id) ->
    {warp_saga, Id, []}.

-spec step(saga(), term()) -> saga().
step({warp_saga, Id, Groups}, Step) ->
    {warp_saga, Id, [[Step] | Groups]}.

-spec parallel(saga(), term()) -> saga().
parallel(Saga, []) ->
    Saga;
parallel({warp_saga, Id, Groups}, Steps) when is_list(Steps) ->
    {warp_saga, Id, [Steps | Groups]};
parallel({warp_saga, Id, Groups}, Other) ->
    {warp_saga, Id, [{not_a_list, Other} | Groups]}.

%% @doc What the NIF checks the events of sagas against.
-spec rules() -> warp_nif:rules().
rules() ->
    warp_nif:rules([{Name, 1, true} || Name <- [?AGGREGATE, ?CLOSING]]).

%% @doc The entity that a saga is.
-spec entity_id(binary()) -> binary().
entity_id(Id) ->
    <<?PREFIX, Id/binary>>.

%% @doc The id of the event that a step appends, forward or to reverse it.
-spec event_id(binary(), forward | reverse, non_neg_integer()) -> binary().
event_id(Id, forward, N) -> <<Id/binary, ?FORWARD, (integer_to_binary(N))/binary>>;
event_id(Id, reverse, N) -> <<Id/binary, ?REVERSE, (integer_to_binary(N))/binary>>.

%% @doc What tells the events of steps among those of an entity: the correlation of one is its saga,
%% and its id is made of the saga's, one of these, and the number of the step.
-spec infixes() -> [binary()].
infixes() ->
    [<<?FORWARD>>, <<?REVERSE>>].

%% @doc Sagas as a kind of entities: how their ids begin, and the aggregate of the row that closes one.
-spec kind() -> warp_nif:kind().
kind() ->
    {<<?PREFIX>>, ?CLOSING}.

%% @doc What the types of events become whose payloads are cleared.
-spec cleared_types() -> warp_nif:retyping().
cleared_types() ->
    [{<<"Forward">>, <<"Cleared">>}, {<<"Reverse">>, <<"Cleared">>}].

%% @doc Where the payloads of those steps stand in the saga's log.
-spec seqs([non_neg_integer()]) -> [pos_integer()].
seqs(Ns) ->
    lists:append([[2 * N + 2, 2 * N + 3] || N <- Ns]).

-spec check_id(term()) -> ok | {error, {bad_saga_id, term()}}.
check_id(<<>>) ->
    {error, {bad_saga_id, empty}};
check_id(Id) when is_binary(Id), byte_size(Id) > ?MAX_ID_BYTES ->
    {error, {bad_saga_id, {too_long, byte_size(Id), ?MAX_ID_BYTES}}};
check_id(Id) when is_binary(Id) ->
    case is_utf8(Id) of
        true -> ok;
        false -> {error, {bad_saga_id, not_utf8}}
    end;
check_id(_) ->
    {error, {bad_saga_id, not_a_binary}}.

%% @doc Checks what a caller built. The plan, and its row, packed.
-spec build(saga(), warp_context:context(), map()) ->
    {ok, plan(), warp_nif:packed()} | {error, term()}.
build({warp_saga, Id, Groups0}, Context, #{timeout := Timeout, retries := Retries}) ->
    try
        ok = ok_or_throw(check_id(Id)),
        {Steps, Groups} = number(lists:reverse(Groups0), Context),
        Encoded = warp_saga_hash:encode(Id, Steps, Groups),
        Plan = #{id => Id, steps => Steps, groups => Groups, deadline => deadline(Timeout),
                 retries => Retries, hash => warp_saga_hash:of_encoded(Encoded)},
        {Packed, ReadBack} = pack(Plan, Context),
        case warp_saga_hash:encode(Id, ReadBack, Groups) of
            Encoded ->
                {ok, compact(Plan#{steps := ReadBack}), Packed};
            Other ->
                %% Given in another form than reading the row will give it.
                AsRead = Plan#{steps := ReadBack, hash := warp_saga_hash:of_encoded(Other)},
                {ok, compact(AsRead), element(1, pack(AsRead, Context))}
        end
    catch
        throw:Reason -> {error, Reason}
    end;
build(_NotASaga, _Context, _Options) ->
    {error, {bad_saga_id, not_a_saga}}.

ok_or_throw(ok) -> ok;
ok_or_throw({error, Reason}) -> throw(Reason).

%% It stays in memory for as long as the saga takes: what it was cut from should not.
compact(Plan) ->
    warp_compact:term(Plan, 1000000).

deadline(infinity) -> infinity;
deadline(Millis) -> os:system_time(microsecond) + Millis * 1000.

number([], _Context) ->
    throw(empty_saga);
number(Groups, Context) ->
    Count = lists:sum([length(Group) || Group <- Groups, is_list(Group)]),
    _ = [throw({too_many_steps, Count, ?MAX_STEPS}) || Count > ?MAX_STEPS],
    {Numbered, _} = lists:mapfoldl(
        fun
            ({not_a_list, _}, N) -> bad(N, parallel, not_a_list);
            (Group, N) -> {lists:zip(lists:seq(N, N + length(Group) - 1), Group), N + length(Group)}
        end,
        0,
        Groups),
    {[check_step(N, Step, Context) || {N, Step} <- lists:append(Numbered)],
     [[N || {N, _} <- Group] || Group <- Numbered]}.

-spec bad(non_neg_integer(), atom(), term()) -> no_return().
bad(N, Field, Why) ->
    throw({bad_step, N, {Field, Why}}).

check_step(N, #{entity := Entity, aggregate := Name, forward := Forward, compensate := Reverse} = Step,
           #{aggregates := Aggregates} = Context) ->
    _ = [bad(N, Field, unknown_field)
         || Field <- maps:keys(Step) -- [entity, aggregate, schema_vsn, forward, compensate]],
    ok = entity(N, Entity),
    ok = name(N, aggregate, Name),
    _ = [bad(N, aggregate, {unknown_aggregate, Name}) || not is_map_key(Name, Aggregates)],
    Vsn =
        case Step of
            #{schema_vsn := Given} -> Given;
            #{} -> warp_aggregate:version(maps:get(Name, Aggregates))
        end,
    _ = [bad(N, schema_vsn, not_a_positive_integer)
         || not (is_integer(Vsn) andalso Vsn > 0 andalso Vsn < 1 bsl 32)],
    #{n => N, entity => Entity, aggregate => Name, schema_vsn => Vsn,
      forward => action(N, forward, Forward, Context),
      compensate => action(N, compensate, Reverse, Context)};
check_step(N, #{} = Step, _Context) ->
    [Missing | _] = [entity, aggregate, forward, compensate] -- maps:keys(Step),
    bad(N, Missing, missing);
check_step(N, _Step, _Context) ->
    bad(N, step, not_a_map).

entity(N, <<"$warp/", _/binary>>) -> bad(N, entity, reserved);
entity(N, Id) when is_binary(Id), byte_size(Id) > ?MAX_ENTITY_BYTES ->
    bad(N, entity, {too_long, byte_size(Id), ?MAX_ENTITY_BYTES});
entity(N, Id) -> name(N, entity, Id).

name(N, Field, Name) -> name(N, Field, Name, fun(Why) -> Why end).

name(N, Field, <<>>, As) -> bad(N, Field, As(empty));
name(N, Field, Name, As) when is_binary(Name), byte_size(Name) > ?MAX_NAME_BYTES ->
    bad(N, Field, As({too_long, byte_size(Name), ?MAX_NAME_BYTES}));
name(N, Field, Name, As) when is_binary(Name) ->
    _ = [bad(N, Field, As(not_utf8)) || not is_utf8(Name)],
    ok;
name(N, Field, _Name, As) -> bad(N, Field, As(not_a_binary)).

is_utf8(<<_/utf8, Rest/binary>>) -> is_utf8(Rest);
is_utf8(Rest) -> Rest =:= <<>>.

action(N, Side, #{type := Type, payload := Payload} = Given, _Context) ->
    ok = only(N, Side, Given, [type, payload]),
    ok = name(N, Side, Type, fun(Why) -> {type, Why} end),
    {event, Type, Payload};
action(N, Side, #{run := Name} = Given, #{steps := Functions}) ->
    ok = only(N, Side, Given, [run, args]),
    case function(Name, case Side of forward -> forward; compensate -> reverse end, Functions) of
        {ok, _} -> {run, Name, maps:get(args, Given, #{})};
        {error, Why} -> bad(N, Side, Why)
    end;
action(N, Side, #{type := _}, _Context) -> bad(N, Side, {payload, missing});
action(N, Side, #{payload := _}, _Context) -> bad(N, Side, {type, missing});
action(N, Side, #{}, _Context) -> bad(N, Side, neither_type_nor_run);
action(N, Side, _Action, _Context) -> bad(N, Side, not_a_map).

%% @doc The step function of that name, if this start of the context has one that can be called.
-spec function(term(), forward | reverse, #{binary() => fun()}) ->
    {ok, fun()}
    | {error, {unknown_step, term()}
            | {step_arity, binary(), arity(), [arity()]}
            | {step_not_exported, binary(), mfa()}}.
function(Name, Side, Functions) ->
    Arities = case Side of forward -> [2]; reverse -> [2, 3] end,
    case Functions of
        #{Name := Fun} ->
            {arity, Arity} = erlang:fun_info(Fun, arity),
            case lists:member(Arity, Arities) andalso missing(Fun, Arity) of
                false -> {error, {step_arity, Name, Arity, Arities}};
                none -> {ok, Fun};
                Missing -> {error, {step_not_exported, Name, Missing}}
            end;
        #{} ->
            {error, {unknown_step, Name}}
    end.

%% What `fun module:function/2' names need not be there.
missing(Fun, Arity) ->
    case erlang:fun_info(Fun, type) of
        {type, local} ->
            none;
        {type, external} ->
            {module, Module} = erlang:fun_info(Fun, module),
            {name, Name} = erlang:fun_info(Fun, name),
            _ = [code:ensure_loaded(Module) || not erlang:function_exported(Module, Name, Arity)],
            case erlang:function_exported(Module, Name, Arity) of
                true -> none;
                false -> {Module, Name, Arity}
            end
    end.

only(N, Side, Given, Known) ->
    _ = [bad(N, Side, {Field, unknown_field}) || Field <- maps:keys(Given) -- Known],
    ok.

%% The NIF checks the payloads. The row, and the steps as reading it will give them.
pack(#{id := Id, steps := Steps} = Plan, #{saga_rules := Rules}) ->
    Row = [#{type => <<"Planned">>, payload => header(Plan)} | payloads(Steps)],
    case warp_entity_pack:pack_with(Rules, entity_id(Id), ?AGGREGATE, Row) of
        {ok, #{packed := Packed, events := [_ | Events]}} ->
            {Packed, read_back(Steps, Events)};
        {error, {bad_event, 1, _, Why}} ->
            throw({bad_saga, Why});
        {error, {bad_event, At, Field, Why}} ->
            Side = case At rem 2 of 0 -> forward; 1 -> compensate end,
            bad(At div 2 - 1, Side, {Field, Why});
        {error, Reason} ->
            throw(Reason)
    end.

payloads([]) ->
    [];
payloads([#{forward := Forward, compensate := Reverse} | Steps]) ->
    [payload(<<"Forward">>, Forward), payload(<<"Reverse">>, Reverse) | payloads(Steps)].

read_back([], []) ->
    [];
read_back([#{forward := Forward, compensate := Reverse} = Step | Steps], [A, B | Events]) ->
    [Step#{forward := setelement(3, Forward, element(2, A)),
           compensate := setelement(3, Reverse, element(2, B))}
     | read_back(Steps, Events)].

payload(Type, {event, _, Payload}) -> #{type => Type, payload => Payload};
payload(Type, {run, _, Args}) -> #{type => Type, payload => Args}.

header(#{steps := Steps, groups := Groups, deadline := Deadline, retries := Retries, hash := Hash}) ->
    Header = #{<<"steps">> => [step_header(Step) || Step <- Steps], <<"retries">> => Retries,
               <<"hash">> => Hash},
    with_groups(Groups, with_deadline(Deadline, Header)).

with_deadline(infinity, Header) -> Header;
with_deadline(Deadline, Header) -> Header#{<<"deadline">> => Deadline}.

with_groups(Groups, Header) ->
    case lists:all(fun(Group) -> tl(Group) =:= [] end, Groups) of
        true -> Header;
        false -> Header#{<<"groups">> => Groups}
    end.

step_header(#{entity := Entity, aggregate := Name, schema_vsn := Vsn, forward := Forward,
              compensate := Reverse}) ->
    #{<<"entity">> => Entity, <<"aggregate">> => Name, <<"schema_vsn">> => Vsn,
      <<"forward">> => action_header(Forward), <<"compensate">> => action_header(Reverse)}.

action_header({event, Type, _}) -> Type;
action_header({run, Name, _}) -> #{<<"run">> => Name}.

%% @doc The plan, from the first events of the saga's log, and the events behind it.
-spec from_events(binary(), [warp_core:event()]) -> {plan(), [warp_core:event()]}.
from_events(Id, [#{type := <<"Planned">>, payload := #{<<"steps">> := Steps} = Header} | Events]) ->
    {Each, Rest} = lists:split(2 * length(Steps), Events),
    {plan(Id, Header, [{Type, Payload} || #{type := Type, payload := Payload} <- Each]), Rest}.

plan(Id, #{<<"steps">> := Headers, <<"retries">> := Retries, <<"hash">> := Hash} = Header, Each) ->
    Ns = lists:seq(0, length(Headers) - 1),
    #{id => Id,
      steps => steps(Ns, Headers, Each),
      groups => maps:get(<<"groups">>, Header, [[N] || N <- Ns]),
      deadline => maps:get(<<"deadline">>, Header, infinity),
      retries => Retries,
      hash => Hash}.

steps([], [], []) ->
    [];
steps([N | Ns], [#{<<"entity">> := Entity, <<"aggregate">> := Name} = Header | Headers],
      [Forward, Reverse | Each]) ->
    #{<<"forward">> := Ahead, <<"compensate">> := Back} = Header,
    [#{n => N, entity => Entity, aggregate => Name,
       schema_vsn => maps:get(<<"schema_vsn">>, Header, default),
       forward => action(Ahead, Forward), compensate => action(Back, Reverse)}
     | steps(Ns, Headers, Each)].

action(_Header, {<<"Cleared">>, _}) -> cleared;
action(#{<<"run">> := Name}, {_, Args}) -> {run, Name, Args};
action(Type, {_, Payload}) -> {event, Type, Payload}.
