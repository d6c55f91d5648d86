%% What the suites of projections share: the targets that each case is run against, contexts with a
%% projection, and aggregates that project.
-module(warp_projection_test).

-export([groups/1, init_group/2, end_group/1, init_case/1, end_case/1, emptied/1, projections/1, projections/2]).
-export([start/2, start/3, rows/2, rows/3, await/1, await_all/1, dump/1, even/1]).
-export([hold/2, release/1]).
-export([shop/0, placed/1, placed/2, event/2, commands/0, does/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% One list of cases for each target.
groups(Cases) ->
    [{embedded, [], Cases}, {rqlite, [], Cases}].

init_group(embedded, Config) ->
    [{target, embedded} | Config];
init_group(rqlite, Config) ->
    case warp_rqlite_server:require(Config) of
        {skip, _} = Skip ->
            Skip;
        Found ->
            Dir = warp_test:new_dir(),
            Server = warp_rqlite_server:start(filename:join(Dir, "node")),
            [{target, rqlite}, {server, Server}, {server_dir, Dir} | Found]
    end.

end_group(Config) ->
    case ?config(target, Config) of
        embedded ->
            ok;
        rqlite ->
            warp_rqlite_server:kill(?config(server, Config)),
            warp_test:remove_dir(?config(server_dir, Config))
    end.

init_case(Config) ->
    ok = emptied(Config),
    warp_test:init_case(Config).

%% A server that a case halted goes on.
end_case(Config) ->
    _ = [warp_rqlite_server:resume(Server) || {server, Server} <- Config],
    warp_test:end_case(Config).

%% What an earlier case has left in the server.
emptied(Config) -> emptied(?config(target, Config), Config).

emptied(rqlite, Config) ->
    {ok, Checked} = warp_rqlite:check(#{nodes => [warp_rqlite_server:url(?config(server, Config))]}),
    About = #{context => <<"test">>, dir => <<".">>, durability => full},
    {ok, Target} = warp_rqlite:open(Checked, About),
    Options = #{max_rows => infinity, timeout => 30000, level => strong},
    {ok, #{rows := Tables}} =
        warp_rqlite:query(Target, <<"SELECT name FROM sqlite_schema WHERE type = 'table'">>, [], Options),
    ok = warp_rqlite:execute(Target, [{<<"DROP TABLE \"", Name/binary, "\"">>, [[]]} || [Name] <- Tables]),
    warp_rqlite:close(Target);
emptied(_, _Config) ->
    ok.

%% The option `projections' for the group's target.
projections(Config) -> projections(Config, #{}).

projections(Config, Extra) ->
    case ?config(target, Config) of
        rqlite -> {rqlite, Extra#{nodes => [warp_rqlite_server:url(?config(server, Config))]}};
        _ -> {embedded, Extra}
    end.

start(Config, Aggregates) -> start(Config, Aggregates, #{}).

start(Config, Aggregates, Options) ->
    warp_test:start(Config, maps:merge(
        #{aggregates => Aggregates, projections => projections(Config)}, Options)).

rows(Ctx, Sql) -> rows(Ctx, Sql, []).

rows(Ctx, Sql, Params) ->
    case warp_core:query(Ctx, Sql, Params, #{level => strong, timeout => 30000}) of
        {ok, #{rows := Rows}} -> Rows;
        %% Its writer was killed, and is being started again.
        {error, {target_away, Why}} when Why =:= closed; Why =:= interrupted; Why =:= not_reached_yet ->
            timer:sleep(10),
            rows(Ctx, Sql, Params);
        Other -> error({Sql, Other})
    end.

await(Entity) -> ?assertEqual(ok, warp_core:await_projection(Entity, 60000)).

await_all(Entities) -> lists:foreach(fun await/1, Entities).

%% Every shard's projector is where its log ends.
even(Ctx) ->
    warp_test:wait_until(fun() ->
        {ok, #{shards := Shards, state := Is}} = warp_projection:status(Ctx),
        Is =:= up andalso lists:all(fun(#{position := P, log_position := L}) -> P =:= L end, Shards)
    end, 120000).

%% All tables of commands with all their columns, but not when rows were written.
dump(Ctx) ->
    Tables = [T || [T] <- rows(Ctx, "SELECT DISTINCT tbl FROM _warp_columns WHERE building = 0 ORDER BY tbl")],
    maps:from_list([{Table, dump(Ctx, Table)} || Table <- Tables]).

dump(Ctx, Table) ->
    {ok, #{columns := Columns, rows := Rows}} =
        warp_core:query(Ctx, ["SELECT * FROM \"", Table, "\" ORDER BY id"], [],
                        #{level => strong, max_rows => 1000000, timeout => 60000}),
    lists:sort([maps:from_list([{C, V} || {C, V} <- lists:zip(Columns, Row), C =/= <<"_seq">>, V =/= null])
                || Row <- Rows]).

%% Keeps the target from being written to, from outside of Warp.
hold(Ctx, Config) ->
    case ?config(target, Config) of
        rqlite ->
            _ = warp_rqlite_server:pause(?config(server, Config)),
            {rqlite, ?config(server, Config)};
        embedded ->
            File = filename:join(warp_test:context_dir(Ctx), "projections.db"),
            {embedded, warp_shell:writes(File)}
    end.

release({rqlite, Server}) -> _ = warp_rqlite_server:resume(Server);
release({embedded, Shell}) -> warp_shell:release(Shell).

%% ------------------------------------------------------------------ Aggregates

%% An order has a row of its own, and counts in its customer's.
shop() ->
    #{name => <<"Order">>,
      initial_state => #{total => 0},
      apply => fun(#{total := T} = S, #{payload := #{<<"amount">> := A}}) -> S#{total := T + A};
                  (S, _) -> S
               end,
      project => fun
          (Id, #{total := Total}, #{type := <<"Placed">>, payload := #{<<"customer">> := C, <<"amount">> := A}}) ->
              [warp_projection:upsert(<<"orders">>, Id, #{customer => C, total => Total}),
               warp_projection:increment(<<"customers">>, C, #{orders => 1, spent => A})];
          (Id, _, #{type := <<"Cancelled">>}) ->
              [warp_projection:delete(<<"orders">>, Id)];
          (_, _, #{type := <<"Crash">>}) ->
              error(no_idea);
          (_, _, _) ->
              []
      end}.

placed(Amount) -> placed(<<"ann">>, Amount).
placed(Customer, Amount) -> event(<<"Placed">>, #{customer => Customer, amount => Amount}).

event(Type, Payload) -> #{type => Type, payload => Payload, aggregate => <<"Order">>}.

%% Its events say which commands they lead to.
commands() ->
    #{name => <<"Commands">>,
      initial_state => none,
      project => fun(Id, _, #{payload := #{<<"term">> := Term}}) ->
          case binary_to_term(base64:decode(Term)) of
              Fun when is_function(Fun, 1) -> Fun(Id);
              Commands -> Commands
          end
      end}.

does(Commands) ->
    #{type => <<"Did">>, aggregate => <<"Commands">>,
      payload => #{term => base64:encode(term_to_binary(Commands))}}.
