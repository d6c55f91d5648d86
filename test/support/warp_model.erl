%% The pure model of a context: a map of entity to its list of events, and what
%% every call must answer. It knows nothing of processes, shards or files.
-module(warp_model).

-export([new/0, log/2, last/2, delete/2]).
-export([append/4, batch/4, decide/4]).
-export([get/3, state_at/4, history/3, export/2, seen/1]).
-export([aggregates/0, plan/2, burst/1, event/2, matches/2]).

-export_type([model/0, spec/0, answer/0]).

-type entity() :: binary().
-type model() :: #{entity() => [event()]}.
-type event() :: #{seq := pos_integer(), id := binary(), aggregate := binary(),
                   type := binary(), payload := map()}.
%% An event as the generators write it down. `{own, N}` is an id of the form
%% that the engine derives itself.
-type spec() :: {Aggregate :: binary(), Type :: binary(), Amount :: integer(),
                 Id :: none | {given, binary()} | {own, pos_integer()},
                 Payload :: map | json}.
-type plan() :: {spend, pos_integer()} | {emit, [spec()]} | refuse | crash.
%% What a call may answer. Where more than one thing is wrong with a call, any of
%% them may be named; '_' stands for any term.
-type answer() :: {ok, term()} | {one_of, [term()]}.

-spec new() -> model().
new() -> #{}.

-spec log(entity(), model()) -> [event()].
log(Entity, Model) -> maps:get(Entity, Model, []).

-spec last(entity(), model()) -> non_neg_integer().
last(Entity, Model) -> length(log(Entity, Model)).

-spec delete(entity(), model()) -> model().
delete(Entity, Model) -> maps:remove(Entity, Model).

%% --------------------------------------------------------------------- Writes

-spec append(entity(), spec(), Expected :: term(), model()) -> {answer(), model()}.
append(Entity, Spec, Expected, Model) ->
    answer(write(Entity, [Spec], Expected, Model), Model, fun([Seq]) -> Seq end).

-spec batch(entity(), [spec()], Expected :: term(), model()) -> {answer(), model()}.
batch(Entity, Specs, Expected, Model) ->
    answer(write(Entity, Specs, Expected, Model), Model,
           fun(Seqs) -> {hd(Seqs), lists:last(Seqs)} end).

-spec decide(entity(), Aggregate :: binary(), plan(), model()) -> {answer(), model()}.
decide(_Entity, _Aggregate, crash, Model) ->
    {{one_of, [{decide_failed, {error, planned_crash, '_'}}]}, Model};
decide(Entity, Aggregate, Plan, Model) ->
    case plan(Plan, fold(Aggregate, log(Entity, Model))) of
        {ok, []} -> {{ok, []}, Model};
        {ok, Specs} -> answer(write(Entity, Specs, any, Model), Model, fun(Seqs) -> Seqs end);
        {error, Reason} -> {{one_of, [Reason]}, Model}
    end.

answer({ok, Seqs, Written}, _Model, Shape) -> {{ok, Shape(Seqs)}, Written};
answer({error, Reasons}, Model, _Shape) -> {{one_of, Reasons}, Model}.

write(Entity, Specs, Expected, Model) ->
    Log = log(Entity, Model),
    {Placed, Written, IdErrors} = place(Entity, Specs, Log),
    New = lists:nthtail(length(Log), Written),
    Errors = twice(Entity, Specs) ++ IdErrors
        ++ [{wrong_expected_seq, length(Log)} || New =/= [] orelse IdErrors =/= [],
                                                 not expected(Expected, length(Log))]
        ++ rejections(IdErrors, New, Log),
    case Errors of
        [] -> {ok, Placed, Model#{Entity => Written}};
        _ -> {error, Errors}
    end.

%% The seq of every event of the call: of the first one where its id is known
%% already, else the next free one.
place(Entity, Specs, Log) ->
    {Seqs, Written, Errors} =
        lists:foldl(
          fun(Spec, {Seqs, Written, Errors}) ->
                  Seq = length(Written) + 1,
                  case place_one(Entity, Spec, Seq, Log) of
                      {known, First} -> {[First | Seqs], Written, Errors};
                      {new, Event} -> {[Seq | Seqs], Written ++ [Event], Errors};
                      {error, Error} -> {Seqs, Written, [Error | Errors]}
                  end
          end, {[], Log, []}, Specs),
    {lists:reverse(Seqs), Written, Errors}.

place_one(Entity, Spec, Seq, Log) ->
    Id = id(Entity, Spec, Seq),
    Event = #{type := Type, payload := Payload} = stored(Spec, Seq, Id),
    case [Known || Known = #{id := KnownId} <- Log, KnownId =:= Id] of
        [#{seq := First, type := Type, payload := Payload}] -> {known, First};
        [#{seq := First}] -> {error, {id_conflict, First}};
        [] -> case Spec of
                  {_, _, _, {own, Other}, _} when Other =/= Seq -> {error, {reserved_id, Id}};
                  _ -> {new, Event}
              end
    end.

twice(Entity, Specs) ->
    Ids = [id(Entity, Spec, 0) || Spec = {_, _, _, Id, _} <- Specs, Id =/= none],
    [{duplicate_event_id, Id} || Id <- lists:usort(Ids -- lists:usort(Ids))].

expected(any, _Last) -> true;
expected(no_stream, Last) -> Last =:= 0;
expected(Seq, Last) -> Seq =:= Last.

%% With a broken id in the call there is no telling which state validate saw.
rejections([_ | _], _New, _Log) ->
    [{rejected, '_'}];
rejections([], New, Log) ->
    Before = fold(<<"Account">>, Log),
    case lists:foldl(fun spend/2, Before, New) of
        {rejected, _} = Rejected -> [Rejected];
        _ -> []
    end.

spend(_Event, {rejected, _} = Rejected) -> Rejected;
spend(#{aggregate := <<"Account">>} = Event, Balance) ->
    case validate(Balance, Event) of
        ok -> balance(Balance, Event);
        {error, Reason} -> {rejected, Reason}
    end;
spend(_Event, Balance) -> Balance.

%% ---------------------------------------------------------------------- Reads

-spec get(entity(), binary(), model()) -> answer().
get(Entity, Aggregate, Model) ->
    {ok, fold(Aggregate, log(Entity, Model))}.

-spec state_at(entity(), binary(), non_neg_integer(), model()) -> answer().
state_at(Entity, Aggregate, Seq, Model) ->
    {ok, fold(Aggregate, lists:sublist(log(Entity, Model), Seq))}.

-spec history(entity(), map(), model()) -> answer().
history(Entity, Opts, Model) ->
    Log = log(Entity, Model),
    Limit = maps:get(limit, Opts, 1000),
    Events = case Opts of
                 #{direction := backward} ->
                     lists:reverse(lists:sublist(Log, maps:get(from, Opts, length(Log))));
                 _ ->
                     [E || E = #{seq := Seq} <- Log, Seq >= maps:get(from, Opts, 1)]
             end,
    {ok, lists:sublist(Events, Limit)}.

-spec export(entity(), model()) -> answer().
export(Entity, Model) ->
    {ok, log(Entity, Model)}.

%% What the model knows of an event that the engine gave back.
-spec seen(map()) -> event().
seen(Event) ->
    maps:with([seq, id, aggregate, type, payload], Event).

-spec matches(term(), answer()) -> boolean().
matches(Answer, {one_of, Reasons}) ->
    lists:any(fun(Reason) -> fits(Answer, {error, Reason}) end, Reasons);
matches(Answer, Expected) ->
    Answer =:= Expected.

fits(_, '_') -> true;
fits(A, B) when is_tuple(A), is_tuple(B), tuple_size(A) =:= tuple_size(B) ->
    lists:all(fun({X, Y}) -> fits(X, Y) end, lists:zip(tuple_to_list(A), tuple_to_list(B)));
fits(A, B) -> A =:= B.

%% ----------------------------------------------------------------- Aggregates

%% Account refuses to go below zero. Trail notes down each event it was given, so
%% an event folded twice, left out or out of order shows in its state.
-spec aggregates() -> [map()].
aggregates() ->
    [#{name => <<"Account">>, initial_state => 0,
       apply => fun balance/2, validate => fun validate/2},
     #{name => <<"Trail">>, initial_state => [], apply => fun note/2}].

apply_to(<<"Account">>, State, Event) -> balance(State, Event);
apply_to(<<"Trail">>, State, Event) -> note(State, Event).

initial(<<"Account">>) -> 0;
initial(<<"Trail">>) -> [].

balance(Balance, #{type := <<"Debited">>, payload := #{<<"n">> := N}}) -> Balance - N;
balance(Balance, #{payload := #{<<"n">> := N}}) -> Balance + N.

validate(Balance, #{type := <<"Debited">>, payload := #{<<"n">> := N}}) when N > Balance ->
    {error, {overdraft, Balance, N}};
validate(_Balance, _Event) ->
    ok.

note(Trail, #{seq := Seq, type := Type, payload := #{<<"n">> := N}}) ->
    [{Seq, Type, N} | Trail].

fold(Aggregate, Log) ->
    lists:foldl(fun(Event, State) -> apply_to(Aggregate, State, Event) end,
                initial(Aggregate),
                [E || E = #{aggregate := Name} <- Log, Name =:= Aggregate]).

%% The same plan decides in the model and, inside decide's fun, in the engine.
-spec plan(plan(), term()) -> {ok, [spec()]} | {error, term()}.
plan({spend, N}, Balance) when Balance >= N ->
    {ok, [{<<"Account">>, <<"Debited">>, N, none, map}]};
plan({spend, N}, Balance) -> {error, {short_of, N, Balance}};
plan({emit, Specs}, _State) -> {ok, Specs};
plan(refuse, _State) -> {error, refused};
plan(crash, _State) -> error(planned_crash).

%% --------------------------------------------------------------------- Events

%% Events so alike that they may be stored in any order.
-spec burst(pos_integer()) -> [spec()].
burst(Count) ->
    lists:duplicate(Count, {<<"Trail">>, <<"Noted">>, 1, none, map}).

id(Entity, {_, _, _, none, _}, Seq) -> own_id(Entity, Seq);
id(Entity, {_, _, _, {own, Seq}, _}, _) -> own_id(Entity, Seq);
id(_Entity, {_, _, _, {given, Id}, _}, _) -> Id.

own_id(Entity, Seq) -> <<Entity/binary, "#", (integer_to_binary(Seq))/binary>>.

stored({Aggregate, Type, N, _, _}, Seq, Id) ->
    #{seq => Seq, id => Id, aggregate => Aggregate, type => Type, payload => #{<<"n">> => N}}.

%% The event as a caller of the engine writes it.
-spec event(entity(), spec()) -> map().
event(Entity, {Aggregate, Type, N, Id, Payload} = Spec) ->
    Event = #{aggregate => Aggregate, type => Type, payload => payload(Payload, N)},
    case Id of
        none -> Event;
        _ -> Event#{id => id(Entity, Spec, 0)}
    end.

payload(map, N) -> #{n => N};
payload(json, N) -> <<"{ \"n\": ", (integer_to_binary(N))/binary, " }">>.
