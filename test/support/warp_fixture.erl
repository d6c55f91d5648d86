%% The contexts of test/fixtures: with what they are opened, and what is seen of them. What a fixture was
%% made with may not change, since it must open for ever; so nothing here is shared with other tests.
%%
%% A fixture is {Format, Name}: {"v2", "closed"}.
-module(warp_fixture).

-export([dir/1, copy/3, opts/3, passing/0, open/3, entities/1, describe/3, view/1, keys/1]).

%% The folder of a format's fixtures.
dir(Format) ->
    filename:join([warp_fault_vm:root(), "test", "fixtures", Format]).

%% Copies a context's files, without SQLite's index of a WAL: it is made anew.
copy(From, To, Name) ->
    ok = filelib:ensure_path(filename:join(To, Name)),
    Files = [File || File <- filelib:wildcard("*", filename:join(From, Name)), filename:extension(File) =/= ".db-shm"],
    lists:foreach(fun(File) ->
        {ok, _} = file:copy(filename:join([From, Name, File]), filename:join([To, Name, File]))
    end, Files).

%% Who is <<"maker">> or <<"reader">>: states say who folded how many events, so that a state shows whether
%% it began with a snapshot that the maker had made.
opts({_, Name}, Dir, Who) ->
    maps:merge(#{context => list_to_binary(Name), data_dir => Dir, aggregates => aggregates(Who)}, opts(Name)).

%% Without the step function that its unfinished saga needs.
opts("closed") -> #{shards => 3};
opts("killed") -> #{shards => 2, projections => embedded, steps => passing()};
opts("half_deleted") -> #{shards => 1}.

%% The step functions that the maker's ones wait in for ever.
passing() ->
    #{<<"wait">> => fun(_State, _Args) -> {ok, #{type => <<"Noted">>, payload => #{}}} end,
      <<"back">> => fun(_State, _Args) -> {ok, #{type => <<"Debited">>, payload => #{amount => 1}}} end}.

aggregates(Who) ->
    [#{name => <<"Account">>, version => 2, initial_state => #{balance => 0, folded_by => #{}},
       apply => fun(State, Event) -> account(Who, State, Event) end,
       validate => fun(#{balance := Balance}, #{type := <<"Debited">>, payload := #{<<"amount">> := N}})
                           when N > Balance -> {error, {overdraft, Balance, N}};
                      (_, _) -> ok
                   end,
       migrate => fun(#{payload := #{<<"cents">> := Cents}} = Event, 1) ->
                          Event#{payload := #{<<"amount">> => Cents div 100}};
                     (Event, _) -> Event
                  end},
     %% Its snapshots are those of an earlier version.
     #{name => <<"Tally">>, version => case Who of <<"maker">> -> 1; <<"reader">> -> 2 end,
       initial_state => #{count => 0, folded_by => #{}},
       apply => fun(#{count := Count} = State, _) -> folded(Who, State#{count := Count + 1}) end},
     #{name => <<"Note">>, initial_state => none},
     #{name => <<"Order">>, initial_state => 0,
       apply => fun(Total, #{payload := #{<<"amount">> := N}}) -> Total + N;
                   (Total, _) -> Total
                end,
       project => fun order/3}].

account(Who, #{balance := Balance} = State, #{type := Type, payload := #{<<"amount">> := N}}) ->
    folded(Who, State#{balance := case Type of <<"Credited">> -> Balance + N; <<"Debited">> -> Balance - N end}).

folded(Who, #{folded_by := By} = State) ->
    State#{folded_by := maps:update_with(Who, fun(N) -> N + 1 end, 1, By)}.

order(Id, Total, #{type := <<"Placed">>, payload := #{<<"customer">> := Customer, <<"amount">> := N}}) ->
    [warp_projection:upsert(<<"orders">>, Id, #{customer => Customer, total => Total, open => true,
                                                about => {json, #{<<"last">> => N}}}),
     warp_projection:increment(<<"customers">>, Customer, #{orders => 1, spent => N, weight => N / 8})];
order(Id, _, #{type := <<"Cancelled">>}) ->
    [warp_projection:delete(<<"orders">>, Id)];
order(_, _, #{type := <<"Unreadable">>}) ->
    [no_command].

%% Those that are looked at, whether they have events or not.
entities({_, "closed"}) ->
    [<<"alice">>, <<"bob">>, <<"carl">>, <<"dora">>, <<"many">>, <<"large">>, <<"gone">>, <<"reborn">>,
     <<"za\x{c5}\x{bc}\x{c3}\x{b3}\x{c5}\x{82}\x{c4}\x{87}">>, <<"gate">>, <<"never">>];
entities({"v1", "killed"}) ->
    [<<"alice">>, <<"bob">>, <<"gate">>, <<"late">>
     | [<<"order-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 9)]];
entities({_, "killed"}) ->
    [<<"carl">> | entities({"v1", "killed"})];
entities({_, "half_deleted"}) ->
    [<<"victim">>, <<"other">>].

sagas({"v1", "closed"}) ->
    [<<"done">>, <<"turned">>, <<"stuck">>, <<"resolved">>, <<"cleared">>, <<"waits">>, <<"never">>];
sagas({"v1", "killed"}) -> [<<"waits">>];
sagas({_, "closed"}) -> [<<"back">>, <<"removed">>, <<"removed and turned">> | sagas({"v1", "closed"})];
sagas({_, "killed"}) -> [<<"back">>, <<"done">>, <<"turned">>, <<"stuck">>, <<"removed">> | sagas({"v1", "killed"})];
sagas({_, "half_deleted"}) -> [].

%% Opens it, and waits until what the maker left unfinished is finished. All sagas are older by now than those that a
%% context usually keeps.
open({_, Name} = Fixture, Dir, Changes) ->
    Ctx = warp_test:start(maps:merge((opts(Fixture, Dir, <<"reader">>))#{keep_sagas => infinity}, Changes)),
    {ok, _} = warp_saga:recover_pending(Ctx),
    case Name of
        "killed" ->
            [case warp_core:await_projection(warp_core:entity(Ctx, Id), 60000) of
                 ok -> ok;
                 {error, {set_aside, _}} -> ok
             end || Id <- entities(Fixture)],
            Notes = filename:join([Dir, Name, "erasures.db"]),
            warp_test:wait_until(fun() ->
                warp_test:sqlite(Notes, "SELECT count(*) FROM notes") =:= [<<"0">>]
            end, 60000);
        _ ->
            ok
    end,
    Ctx.

%% All that the API tells of a context, but for the times of what was added later than MadeAt, as a saga
%% that goes on adds events.
describe({_, Name} = Fixture, Ctx, MadeAt) ->
    untimed(MadeAt, #{
        entities => maps:from_list([{Id, entity(warp_core:entity(Ctx, Id))} || Id <- entities(Fixture)]),
        sagas => maps:from_list([{Id, saga(warp_saga:status(Ctx, Id))} || Id <- sagas(Fixture)]),
        pending => ids(warp_saga:pending(Ctx)),
        stuck => ids(warp_saga:stuck(Ctx)),
        tables => tables(Name, Ctx)}).

untimed(MadeAt, #{recorded_at := At} = Event) when At > MadeAt -> maps:remove(recorded_at, Event);
untimed(MadeAt, Map) when is_map(Map) -> maps:map(fun(_, Value) -> untimed(MadeAt, Value) end, Map);
untimed(MadeAt, List) when is_list(List) -> [untimed(MadeAt, Value) || Value <- List];
untimed(MadeAt, {ok, Value}) -> {ok, untimed(MadeAt, Value)};
untimed(_, Value) -> Value.

entity(Entity) ->
    {ok, Events} = warp_core:history(Entity, #{limit => 10000}),
    {ok, Stored} = warp_core:export(Entity),
    #{history => [short(Event) || Event <- Events],
      export => [short(Event) || Event <- Stored],
      states => maps:from_list([{Aggregate, warp_core:get(Entity, Aggregate)} || Aggregate <- folding()]),
      at => [warp_core:state_at(Entity, Aggregate, {seq, Seq}) || Aggregate <- folding(),
                                                                 Seq <- [1, 3, 7], Seq =< length(Events)]}.

folding() -> [<<"Account">>, <<"Tally">>, <<"Order">>].

%% A large payload is known by its length and hash.
short(#{payload := #{<<"text">> := Text} = Payload} = Event) when byte_size(Text) > 100 ->
    Event#{payload := Payload#{<<"text">> := {byte_size(Text), erlang:md5(Text)}}};
short(Event) ->
    Event.

saga({ok, Saga}) -> maps:remove(updated_at, maps:remove(waiting, Saga));
saga(Other) -> Other.

ids({ok, Sagas}) -> lists:sort([Id || #{id := Id} <- Sagas]).

tables("killed", Ctx) ->
    {ok, SetAside} = warp_projection:set_aside(Ctx),
    Rows = [begin
        {ok, Result} = warp_core:query(Ctx, ["SELECT * FROM ", Table, " ORDER BY id"], []),
        {list_to_binary(Table), Result}
    end || Table <- ["orders", "customers"]],
    (maps:from_list(Rows))#{set_aside => SetAside};
tables(_, _) ->
    none.

%% The keys of all shards below Dir.
keys(Dir) ->
    maps:from_list([{filename:basename(File), warp_test_keys:read(File)} || File <- warp_test:shard_files(Dir)]).

%% The rows of the view `events' of every shard below Dir, as the sqlite3 shell reads them. It also moves a
%% WAL into its file when it ends.
view(Dir) ->
    lists:append([[<<(list_to_binary(filename:basename(File)))/binary, $|, Row/binary>>
                   || Row <- warp_test:sqlite(File, "SELECT position, entity, seq, id, aggregate, type, schema_vsn, "
                                          "length(payload), metadata, recorded_at FROM events ORDER BY 1, 3")]
                  || File <- warp_test:shard_files(Dir)]).
