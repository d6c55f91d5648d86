%% @private The plan of a saga, and how it stands in the first row of the saga's log. `warp_saga_builder'
%% makes plans of what callers build.
%%
%% The row holds the event `Planned' and then, for each step, the events `Forward' and `Reverse'. Their
%% payloads are those of the user and nothing else, so that they can be cleared one by one. The type of a
%% cleared one is `Cleared'.
-module(warp_saga_plan).

-export([rules/0, aggregate/1, kind/0, infixes/0, cleared_types/0]).
-export([check_id/1, entity_id/1, id/1, event_id/3, seqs/1]).
-export([pack/2, from_events/2, removed/2]).

-export_type([plan/0, step/0, action/0, hash/0]).

-type plan() :: #{
    id := binary(),
    %% In order, numbered from 0.
    steps := [step()],
    %% The numbers of the steps, in order. The steps of one group run side by side.
    groups := [[non_neg_integer(), ...]],
    deadline := warp_core:micros() | infinity,
    retries := non_neg_integer(),
    %% Tells whether another saga of the same id has the same steps, also once payloads are cleared.
    hash := hash()
}.
%% Of the steps: see {@link warp_saga_hash}.
-type hash() :: binary() | non_neg_integer().
-type step() :: #{
    n := non_neg_integer(),
    entity := binary(),
    aggregate := binary(),
    %% `default' only in logs from versions that did not have to know the aggregates.
    schema_vsn := pos_integer() | default,
    forward := action(),
    compensate := action()
}.
-type action() ::
    {event, Type :: binary(), Payload :: map()}
    | {run, Name :: binary(), Args :: map()}
    %% The log no longer has what it was.
    | cleared.

-define(PREFIX, "$warp/saga/").
-define(AGGREGATE, <<"$warp/saga">>).
-define(CLOSING, <<"$warp/saga/end">>).
%% In the id of the event of a step, one of these stands between the saga's id and the step's number.
-define(FORWARD, "/fwd/").
-define(REVERSE, "/comp/").
-define(MAX_ID_BYTES, 500).

%% @doc What the NIF checks the events of sagas against.
-spec rules() -> warp_nif:rules().
rules() ->
    warp_nif:rules([{Name, 1, true} || Name <- [?AGGREGATE, ?CLOSING]], []).

%% @doc The aggregate of a row in a saga's log, which says whether the row closes the saga. The engine keeps a
%% list of the sagas without such a row.
-spec aggregate(IsClosing :: boolean()) -> binary().
aggregate(false) -> ?AGGREGATE;
aggregate(true) -> ?CLOSING.

%% @doc The entity that a saga is.
-spec entity_id(binary()) -> binary().
entity_id(Id) ->
    <<?PREFIX, Id/binary>>.

%% @doc The id of the saga that an entity is.
-spec id(EntityId :: binary()) -> binary().
id(<<?PREFIX, Id/binary>>) ->
    Id.

%% @doc The id of the event that a step appends, forward or to reverse it.
-spec event_id(binary(), forward | reverse, non_neg_integer()) -> binary().
event_id(Id, forward, N) -> <<Id/binary, ?FORWARD, (integer_to_binary(N))/binary>>;
event_id(Id, reverse, N) -> <<Id/binary, ?REVERSE, (integer_to_binary(N))/binary>>.

%% @doc How the engine finds the events of steps in the log of an entity: the correlation of such an event is
%% its saga's id, and its own id is made of that, one of these infixes, and the number of the step.
-spec infixes() -> [binary()].
infixes() ->
    [<<?FORWARD>>, <<?REVERSE>>].

%% @doc Sagas as a kind of entities: how their ids begin, the aggregate of the row that closes a saga, and that both
%% payloads of a step are cleared together.
-spec kind() -> warp_nif:kind().
kind() ->
    {<<?PREFIX>>, ?CLOSING, {cleared_types(), 2}}.

%% @doc The types of the events whose payloads can be cleared, and what they become then.
-spec cleared_types() -> warp_nif:retyping().
cleared_types() ->
    [{<<"Forward">>, <<"Cleared">>}, {<<"Reverse">>, <<"Cleared">>}].

%% @doc The seqs of those steps' payloads in the saga's log.
-spec seqs([non_neg_integer()]) -> [pos_integer()].
seqs(Ns) ->
    lists:append([[2 * N + 2, 2 * N + 3] || N <- Ns]).

-spec check_id(term()) -> ok | {error, {bad_saga_id, warp_text:problem()}}.
check_id(Id) ->
    case warp_text:check(Id, ?MAX_ID_BYTES) of
        ok -> ok;
        {error, Why} -> {error, {bad_saga_id, Why}}
    end.

%% @doc The row that stores a plan, packed; and the plan's steps with the payloads as reading the row will
%% give them. The NIF checks the payloads; event 1 is the header, and two events for each step follow it.
-spec pack(plan(), warp_nif:rules()) ->
    {ok, warp_nif:packed(), [step()]} | {error, {bad_event, pos_integer(), atom(), term()} | term()}.
pack(#{id := Id, steps := Steps} = Plan, Rules) ->
    Row = [#{type => <<"Planned">>, payload => header(Plan)} | payloads(Steps)],
    case warp_entity_pack:pack_with(Rules, entity_id(Id), ?AGGREGATE, Row) of
        {ok, #{packed := Packed, events := [_ | Events]}} -> {ok, Packed, read_back(Steps, Events)};
        {error, _} = Error -> Error
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

%% @doc What is left of the plan of a saga whose log was removed.
-spec removed(binary(), hash()) -> plan().
removed(Id, Hash) ->
    #{id => Id, steps => [], groups => [], deadline => infinity, retries => 0, hash => Hash}.

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
