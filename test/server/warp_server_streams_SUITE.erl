%% Streams of entities and shards, as Durable Streams has them.
-module(warp_server_streams_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(STREAMS, "/v1/contexts/bank/streams/").

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [what_is_stored_comes_in_chunks, what_is_not_there_is_empty_or_404, an_offset_is_a_place, tags_are_of_what_is_sent,
     a_request_waits_for_an_event, a_request_does_not_wait_for_ever, events_are_sent_as_they_come,
     many_events_are_sent_once, events_end_by_themselves, a_deletion_is_the_end_of_an_offset,
     a_deletion_ends_what_is_under_way, erased_events_leave_a_shard, offsets_outlive_the_server,
     a_client_that_takes_nothing_costs_no_memory, a_client_that_leaves_leaves_nothing,
     scopes_are_those_of_subscriptions, a_stream_ends_with_its_token, a_stream_ends_with_its_scope,
     a_stream_that_waits_is_asked_again, only_reading_is_there, it_works_by_http2].

init_per_suite(Config) -> warp_server_http_SUITE:init_per_suite(Config).
end_per_suite(_) -> ok.

init_per_testcase(_, Config0) ->
    Config = warp_test:init_case(Config0),
    [{server, start(Config)} | Config].

start(Config) -> warp_server_test:start(Config, #{live => #{long_poll_ms => 1500, events_ms => 4000}}).

end_per_testcase(_, Config) -> warp_server_http_SUITE:end_per_testcase(any, Config).

%% ------------------------------------------------------------------------------------------------------- Helpers

paid(Amount) -> #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => Amount}}.

append(Config, Id, Events) ->
    Path = ["/v1/contexts/bank/entities/", uri_string:quote(Id), "/events"],
    {200, _} = warp_server_test:post(?config(server, Config), Path, #{events => Events}),
    ok.

entity(Id) -> [?STREAMS, "entities/", uri_string:quote(Id)].
shard(N) -> [?STREAMS, "shards/", integer_to_list(N)].

shard_of(Id) ->
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, N} = warp_core:shard_of(warp_core:entity(Ctx, Id)),
    N.

read(Config, Path) -> read(Config, Path, []).
read(Config, Path, Headers) -> request(Config, get, Path, "admin-token", Headers).

request(Config, Method, Path, Token, Headers) ->
    warp_server_test:request(?config(server, Config), Method, Path, Token, none, Headers).

next(#{<<"stream-next-offset">> := Offset}) -> Offset.

seqs(Events) -> [Seq || #{<<"seq">> := Seq} <- Events].

%% All events of a stream from an offset on, and what the answers were.
all_chunks(Config, Path, Offset) ->
    {200, Headers, Events} = read(Config, [Path, "?offset=", Offset]),
    case Headers of
        #{<<"stream-up-to-date">> := <<"true">>} -> [{Events, next(Headers)}];
        #{} ->
            ?assertNotEqual([], Events),
            [{Events, next(Headers)} | all_chunks(Config, Path, next(Headers))]
    end.

%% Does it in another process, and gives what waits for the result.
aside(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    fun() -> receive {'DOWN', Monitor, process, Pid, {done, Result}} -> Result after 20000 -> error(timeout) end end.

events(Config, Path) -> events(Config, Path, "admin-token").
events(Config, Path, Token) -> warp_server_test:events(?config(server, Config), Path, Token).

%% ---------------------------------------------------------------------------------------------------------- Cases

what_is_stored_comes_in_chunks(Config) ->
    Text = binary:copy(<<"x">>, 1000),
    [ok = append(Config, Id, [(paid(N))#{metadata => #{text => Text}} || N <- lists:seq(1, 2000)])
     || Id <- [<<"alice">>, <<"other">>, <<"user/b ü"/utf8>>]],
    [begin
         Chunks = all_chunks(Config, entity(Id), "-1"),
         {Events, Offsets} = lists:unzip(Chunks),
         ?assert(length(Chunks) > 1),
         ?assertEqual(lists:seq(1, 2000), seqs(lists:append(Events))),
         ?assertEqual([Id], lists:usort([Of || #{<<"entity">> := Of} <- lists:append(Events)])),
         ?assertEqual(Offsets, lists:usort(Offsets)),
         {200, Head, <<>>} = request(Config, head, entity(Id), "admin-token", []),
         ?assertEqual(lists:last(Offsets), next(Head))
     end || Id <- [<<"alice">>, <<"user/b ü"/utf8>>]],
    Shards = [{N, all_chunks(Config, shard(N), "-1")} || N <- [0, 1]],
    All = lists:append([Events || {_, Chunks} <- Shards, {Events, _} <- Chunks]),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, #{events := Stored}} = warp_core:events(Ctx, #{limit => 10000}),
    ?assertEqual([{Id, Seq} || #{entity := Id, seq := Seq} <- Stored],
                 [{Id, Seq} || #{<<"entity">> := Id, <<"seq">> := Seq} <- All]),
    [begin
         Offsets = [Offset || {_, Offset} <- Chunks],
         ?assertEqual(Offsets, lists:usort(Offsets)),
         %% A chunk ends within an append, if that is large. What was read comes no more.
         ?assertEqual(lists:last(Offsets),
                      next(element(2, request(Config, head, shard(N), "admin-token", [])))),
         ?assertMatch({200, #{<<"stream-up-to-date">> := <<"true">>}, []},
                      read(Config, [shard(N), "?offset=", lists:last(Offsets)]))
     end || {N, Chunks} <- Shards].

what_is_not_there_is_empty_or_404(Config) ->
    {200, Headers, []} = read(Config, entity(<<"nobody">>)),
    ?assertMatch(#{<<"stream-up-to-date">> := <<"true">>, <<"content-type">> := <<"application/json">>,
                   <<"cache-control">> := <<"private, no-store">>, <<"x-content-type-options">> := <<"nosniff">>},
                 Headers),
    %% A reader may be there before the entity is.
    ok = append(Config, <<"nobody">>, [paid(1)]),
    ?assertMatch({200, _, [#{<<"seq">> := 1}]}, read(Config, [entity(<<"nobody">>), "?offset=", next(Headers)])),
    ?assertMatch({200, _, []}, read(Config, shard(1 - shard_of(<<"nobody">>)))),
    [?assertMatch({404, #{<<"x-content-type-options">> := <<"nosniff">>}, #{<<"code">> := <<"not_found">>}},
                  read(Config, [shard(2), Query])) || Query <- ["", "?offset=now", "?offset=-1&live=sse",
                                                                "?offset=now&live=long-poll"]],
    ?assertMatch({404, _, _}, request(Config, head, shard(2), "admin-token", [])),
    ?assertMatch({404, _, #{<<"code">> := <<"unknown_context">>}}, read(Config, "/v1/contexts/no/streams/shards/0")),
    ?assertMatch({400, _, #{<<"code">> := <<"bad_option">>}}, read(Config, [?STREAMS, "shards/x"])),
    ?assertMatch({400, _, #{<<"code">> := <<"bad_entity_id">>}}, read(Config, entity(<<"$warp/x">>))).

an_offset_is_a_place(Config) ->
    [ok = append(Config, <<"alice">>, [paid(N)]) || N <- [1, 2, 3]],
    [begin
         {200, Headers, All} = read(Config, Path),
         ?assertMatch({200, _, All}, read(Config, [Path, "?offset=-1"])),
         ?assertMatch({200, _, All}, read(Config, [Path, "?future=1&offset=-1&future=2&seq"])),
         {200, Now, []} = read(Config, [Path, "?offset=now"]),
         ?assertMatch(#{<<"stream-up-to-date">> := <<"true">>}, Now),
         ?assertNot(is_map_key(<<"etag">>, Now)),
         ?assertEqual(next(Headers), next(Now)),
         ?assertMatch({200, _, []}, read(Config, [Path, "?offset=", next(Now)])),
         ok = append(Config, <<"alice">>, [paid(4)]),
         ?assertMatch({200, _, [#{<<"payload">> := #{<<"amount">> := 4}}]},
                      read(Config, [Path, "?offset=", next(Now)])),
         [?assertMatch({_, {400, #{<<"content-type">> := <<"application/problem+json">>},
                            #{<<"code">> := <<"bad_option">>}}},
                       {Bad, read(Config, [Path, "?offset=", Bad])})
          || Bad <- ["", "0", "-2", "x", "now,now", "0%201", "..%2F1", binary_to_list(next(Now)) ++ "0", "%0A",
                     [next(Now), "%0A"], "1_1"]],
         ?assertMatch({400, _, #{<<"code">> := <<"bad_request">>}}, read(Config, [Path, "?offset=-1&offset=-1"])),
         [?assertMatch({400, _, #{<<"code">> := <<"bad_option">>}}, read(Config, [Path, Query]))
          || Query <- ["?live=sse", "?live=long-poll", "?live=maybe&offset=-1"]]
     end || Path <- [entity(<<"alice">>), shard(shard_of(<<"alice">>))]].

tags_are_of_what_is_sent(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    Path = shard(shard_of(<<"alice">>)),
    {200, #{<<"etag">> := Tag} = Headers, _} = read(Config, Path),
    [?assertMatch({304, #{<<"etag">> := Tag, <<"stream-next-offset">> := _, <<"cache-control">> := _}, <<>>},
                  read(Config, Path, [{"If-None-Match", Match}])) || Match <- [Tag, ["\"x\", W/", Tag], "*"]],
    ?assertMatch({200, _, [_, _]}, read(Config, Path, [{"If-None-Match", "\"x\""}])),
    ok = append(Config, <<"alice">>, [paid(3)]),
    {200, #{<<"etag">> := Other}, [_, _, _]} = read(Config, Path, [{"If-None-Match", Tag}]),
    ?assertNotEqual(Tag, Other),
    %% The events before an offset stay the same, but for those that are deleted.
    {200, #{<<"etag">> := Rest}, _} = read(Config, [Path, "?offset=", next(Headers)]),
    {200, _, _} = warp_server_test:request(?config(server, Config), delete, "/v1/contexts/bank/entities/alice",
                                           "admin-token", none),
    ?assertMatch({200, _, []}, read(Config, [Path, "?offset=", next(Headers)], [{"If-None-Match", Rest}])).

a_request_waits_for_an_event(Config) ->
    [begin
         {200, Headers, _} = read(Config, [Path, "?offset=now"]),
         Wait = fun(Offset) -> aside(fun() -> read(Config, [Path, "?live=long-poll&offset=", Offset]) end) end,
         Waiting = [Wait(Offset) || Offset <- ["now", next(Headers)]],
         timer:sleep(300),
         ok = append(Config, <<"alice">>, [paid(5)]),
         [begin
              {200, Came, [#{<<"payload">> := #{<<"amount">> := 5}}]} = Answer(),
              ?assertMatch(#{<<"stream-up-to-date">> := <<"true">>, <<"stream-cursor">> := _, <<"etag">> := _}, Came),
              ?assertMatch({200, _, []}, read(Config, [Path, "?offset=", next(Came)]))
          end || Answer <- Waiting],
         %% What is there comes at once.
         {Micros, {200, #{<<"stream-cursor">> := _}, [_ | _]}} =
             timer:tc(fun() -> read(Config, [Path, "?live=long-poll&offset=-1"]) end),
         ?assert(Micros < 1000000)
     end || Path <- [entity(<<"alice">>), shard(shard_of(<<"alice">>))]].

a_request_does_not_wait_for_ever(Config) ->
    {200, Headers, []} = read(Config, entity(<<"alice">>)),
    {Micros, {204, Nothing, <<>>}} =
        timer:tc(fun() -> read(Config, [entity(<<"alice">>), "?live=long-poll&offset=", next(Headers)]) end),
    ?assert(Micros > 1400000 andalso Micros < 5000000),
    ?assertEqual(next(Headers), next(Nothing)),
    #{<<"stream-up-to-date">> := <<"true">>, <<"stream-cursor">> := Cursor} = Nothing,
    {204, #{<<"stream-cursor">> := Later}, <<>>} =
        read(Config, [entity(<<"alice">>), "?live=long-poll&offset=now&cursor=", Cursor]),
    ?assert(binary_to_integer(Later) > binary_to_integer(Cursor)).

events_are_sent_as_they_come(Config) ->
    Lines = <<"a\nb\r\nc\n\nevent: control\ndata: {}\n\n">>,
    Event = #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => 1, text => Lines}},
    [begin
         {200, Headers, Tcp} = events(Config, [Path, "?live=sse&offset=now"]),
         ?assertMatch(#{<<"content-type">> := <<"text/event-stream">>, <<"x-content-type-options">> := <<"nosniff">>},
                      Headers),
         ?assertNot(is_map_key(<<"content-length">>, Headers)),
         {control, #{<<"upToDate">> := true, <<"streamNextOffset">> := First, <<"streamCursor">> := Cursor}} =
             warp_server_test:next_event(Tcp),
         {200, Now, []} = read(Config, [Path, "?offset=now"]),
         ?assertEqual(First, next(Now)),
         ok = append(Config, <<"alice">>, [Event]),
         ?assertMatch({data, [#{<<"payload">> := #{<<"text">> := Lines}}]}, warp_server_test:next_event(Tcp)),
         {control, #{<<"upToDate">> := true, <<"streamNextOffset">> := Second, <<"streamCursor">> := Cursor}} =
             warp_server_test:next_event(Tcp),
         ?assert(Second > First),
         ok = gen_tcp:close(Tcp),
         {200, _, Again} = events(Config, [Path, "?live=sse&offset=", First, "&cursor=", Cursor]),
         {data, [#{<<"payload">> := #{<<"text">> := Lines}}]} = warp_server_test:next_event(Again),
         %% What is stored has come with the first one.
         {control, #{<<"upToDate">> := true, <<"streamCursor">> := Greater}} = warp_server_test:next_event(Again),
         ?assert(binary_to_integer(Greater) > binary_to_integer(Cursor))
     end || Path <- [entity(<<"alice">>), shard(shard_of(<<"alice">>))]].

many_events_are_sent_once(Config) ->
    Append = fun(From, To) ->
        [ok = append(Config, <<"alice">>, [paid(N) || N <- lists:seq(At, At + 49)]) || At <- lists:seq(From, To, 50)]
    end,
    Append(1, 2000),
    Path = entity(<<"alice">>),
    ByShard = [shard(shard_of(<<"alice">>)), "?live=sse&offset="],
    Readers = [aside(fun() -> followed(Config, Start, "-1", 4000) end)
               || Start <- [[Path, "?live=sse&offset="], ByShard]],
    Append(2001, 4000),
    [?assertEqual(lists:seq(1, 4000), Reader()) || Reader <- Readers].

%% So many events, over as many connections as it takes.
followed(_, _, _, Left) when Left =< 0 -> [];
followed(Config, Path, Offset, Left) ->
    {200, _, Tcp} = events(Config, [Path, Offset]),
    taken(Config, Path, Tcp, Offset, Left).

taken(Config, Path, Tcp, Offset, Left) ->
    case warp_server_test:next_event(Tcp) of
        {data, Events} ->
            {control, #{<<"streamNextOffset">> := Next}} = warp_server_test:next_event(Tcp),
            ?assert(Offset =:= "-1" orelse Next > Offset),
            Seqs = seqs(Events),
            case Left - length(Seqs) of
                Some when Some > 1500, Some rem 3 =:= 0 ->
                    ok = gen_tcp:close(Tcp),
                    Seqs ++ followed(Config, Path, Next, Some);
                Some when Some > 0 -> Seqs ++ taken(Config, Path, Tcp, Next, Some);
                _ -> Seqs
            end;
        {control, #{<<"streamNextOffset">> := Next}} -> taken(Config, Path, Tcp, Next, Left);
        ended -> followed(Config, Path, Offset, Left)
    end.

events_end_by_themselves(Config) ->
    ok = append(Config, <<"alice">>, [paid(1)]),
    {Micros, Events} = timer:tc(fun() ->
        {200, _, Tcp} = events(Config, [entity(<<"alice">>), "?live=sse&offset=-1"]),
        warp_server_test:all_events(Tcp)
    end),
    ?assert(Micros > 3500000 andalso Micros < 8000000),
    ?assertMatch([{data, [_]}, {control, #{<<"upToDate">> := true}}, ended], Events).

delete(Config, Id) ->
    {200, _, _} = warp_server_test:request(?config(server, Config), delete,
                                           ["/v1/contexts/bank/entities/", Id], "admin-token", none),
    ok.

a_deletion_is_the_end_of_an_offset(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    Path = entity(<<"alice">>),
    {200, Before, [_, _]} = read(Config, Path),
    Gone = fun() ->
        [?assertMatch({410, #{<<"content-type">> := <<"application/problem+json">>}, #{<<"code">> := <<"gone">>}},
                      read(Config, [Path, "?offset=", next(Before), Live]))
         || Live <- ["", "&live=long-poll", "&live=sse"]]
    end,
    ok = delete(Config, "alice"),
    Gone(),
    {200, Empty, []} = read(Config, Path),
    ok = append(Config, <<"alice">>, [paid(3)]),
    %% Also where the new life has as many events as the one before.
    Gone(),
    ok = append(Config, <<"alice">>, [paid(4)]),
    Gone(),
    {200, After, [#{<<"payload">> := #{<<"amount">> := 3}}, _]} = read(Config, [Path, "?offset=", next(Empty)]),
    ?assert(next(After) > next(Before)),
    ?assertMatch({200, _, []}, read(Config, [Path, "?offset=", next(After)])),
    %% An offset that the log has not come to is one of another log.
    [Life, _] = binary:split(next(After), <<"_">>),
    ?assertMatch({410, _, _}, read(Config, [Path, "?offset=", Life, "_0000000000000000009"])),
    ?assertMatch({410, _, _}, read(Config, [shard(0), "?offset=0000000000000999999_0000000000000000000"])).

a_deletion_ends_what_is_under_way(Config) ->
    ok = append(Config, <<"alice">>, [paid(1)]),
    Path = entity(<<"alice">>),
    {200, Headers, _} = read(Config, Path),
    {200, _, Tcp} = events(Config, [Path, "?live=sse&offset=-1"]),
    {data, [_]} = warp_server_test:next_event(Tcp),
    {control, _} = warp_server_test:next_event(Tcp),
    Waiting = aside(fun() -> read(Config, [Path, "?live=long-poll&offset=", next(Headers)]) end),
    Early = aside(fun() -> read(Config, [Path, "?live=long-poll&offset=now"]) end),
    timer:sleep(300),
    ok = delete(Config, "alice"),
    ok = append(Config, <<"alice">>, [paid(7)]),
    ?assertEqual(ended, warp_server_test:next_event(Tcp, 2000)),
    ?assertMatch({410, _, _}, Waiting()),
    %% Whoever has not read of the life before may read the next one.
    ?assertMatch({200, _, [#{<<"payload">> := #{<<"amount">> := 7}}]}, Early()).

erased_events_leave_a_shard(Config) ->
    [Other | _] = [Id || N <- lists:seq(1, 100), Id <- [<<"o", (integer_to_binary(N))/binary>>],
                         shard_of(Id) =:= shard_of(<<"alice">>)],
    ok = append(Config, <<"alice">>, [paid(1)]),
    ok = append(Config, Other, [paid(2)]),
    ok = append(Config, <<"alice">>, [paid(3)]),
    Path = shard(shard_of(<<"alice">>)),
    {200, Headers, [_, _, _]} = read(Config, Path),
    {200, _, Tcp} = events(Config, [Path, "?live=sse&offset=-1"]),
    {data, [_, _, _]} = warp_server_test:next_event(Tcp),
    ok = delete(Config, "alice"),
    ?assertMatch({200, _, [#{<<"entity">> := Other}]}, read(Config, Path)),
    ok = append(Config, Other, [paid(4)]),
    ?assertMatch({200, _, [#{<<"payload">> := #{<<"amount">> := 4}}]},
                 read(Config, [Path, "?offset=", next(Headers)])),
    {control, _} = warp_server_test:next_event(Tcp),
    ?assertMatch({data, [#{<<"payload">> := #{<<"amount">> := 4}}]}, warp_server_test:next_event(Tcp)).

offsets_outlive_the_server(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    Paths = [entity(<<"alice">>), shard(shard_of(<<"alice">>))],
    Before = [{Path, next(element(2, read(Config, Path)))} || Path <- Paths],
    ok = warp_server_test:stop(?config(server, Config)),
    Again = start(Config),
    Then = [{server, Again} | proplists:delete(server, Config)],
    ok = append(Then, <<"alice">>, [paid(3)]),
    [?assertMatch({200, _, [#{<<"payload">> := #{<<"amount">> := 3}}]}, read(Then, [Path, "?offset=", Offset]))
     || {Path, Offset} <- Before],
    ok = warp_server_test:stop(Again),
    {save_config, []}.

a_client_that_takes_nothing_costs_no_memory(Config) ->
    Text = binary:copy(<<"x">>, 10000),
    [ok = append(Config, <<"alice">>, [(paid(1))#{metadata => #{text => Text}} || _ <- lists:seq(1, 100)])
     || _ <- lists:seq(1, 30)],
    {200, _, Tcp} = events(Config, [entity(<<"alice">>), "?live=sse&offset=-1"]),
    timer:sleep(1000),
    [Pid] = requests(?config(server, Config)),
    true = erlang:garbage_collect(Pid),
    {binary, Binaries} = process_info(Pid, binary),
    Bytes = lists:sum([Size || {_, Size, _} <- Binaries]),
    ct:pal("~b bytes of binaries for a client that does not read", [Bytes]),
    ?assert(Bytes < 6000000),
    %% Nothing is missing when it does.
    Path = [entity(<<"alice">>), "?live=sse&offset="],
    ?assertEqual(lists:seq(1, 3000), taken(Config, Path, Tcp, "-1", 3000)).

%% The processes of requests that are under way.
requests(Server) ->
    {links, Links} = process_info(warp_server_sup:link(Server), links),
    [Pid || Pid <- Links, is_pid(Pid), {dictionary, Dictionary} <- [process_info(Pid, dictionary)],
            not lists:keymember('$initial_call', 1, Dictionary),
            {current_function, {Module, _, _}} <- [process_info(Pid, current_function)],
            Module =:= warp_server_stream orelse Module =:= warp_server_response].

subscriptions() ->
    {ok, Ctx} = warp_core:context(<<"bank">>),
    #{subscriptions := Subs} = warp_core:stats(Ctx),
    length(Subs).

a_client_that_leaves_leaves_nothing(Config) ->
    Server = ?config(server, Config),
    Sockets = [begin
                   {200, _, Tcp} = events(Config, [Path, "?live=sse&offset=-1"]),
                   Tcp
               end || Path <- [entity(<<"alice">>), shard(0)], _ <- lists:seq(1, 10)],
    _ = [spawn(fun() -> read(Config, [entity(<<"alice">>), "?live=long-poll&offset=-1"]) end)
         || _ <- lists:seq(1, 10)],
    ok = eventually(fun() -> {length(requests(Server)), subscriptions()} =:= {30, 30} end),
    [ok = gen_tcp:close(Tcp) || Tcp <- Sockets],
    ok = eventually(fun() -> {length(requests(Server)), subscriptions()} =:= {0, 0} end).

eventually(Is) -> eventually(Is, 100).

eventually(Is, 0) -> error({not_within_time, Is});
eventually(Is, Left) ->
    case Is() of
        true -> ok;
        false ->
            timer:sleep(50),
            eventually(Is, Left - 1)
    end.

scopes_are_those_of_subscriptions(Config) ->
    Server = ?config(server, Config),
    Scopes = [{"subscriber", #{operations => [subscribe], prefix => <<"user/">>}},
              {"lister", #{operations => [list]}}],
    Tokens = [#{id => list_to_binary(Id), sha256 => warp_server_test:hash(Id), scopes => [Scope]}
              || {Id, Scope} <- Scopes],
    ok = warp_server:configure(Server, #{tokens => warp_server_test:tokens() ++ Tokens}),
    [begin
         {Status, _, Body} = request(Config, get, [Path, Live], Token, []),
         ?assertEqual({Path, Token, Expected}, {Path, Token, Status}),
         _ = [?assertMatch(#{<<"code">> := <<"forbidden">>}, Body) || Status =:= 403]
     end || {Path, Token, Expected} <- [{entity(<<"user/a">>), "subscriber", 200}, {entity(<<"x">>), "subscriber", 403},
                                        {shard(0), "subscriber", 403}, {shard(0), "lister", 200},
                                        {entity(<<"x">>), "lister", 403}, {entity(<<"user/a">>), "admin-token", 200},
                                        %% Its events may be of aggregates that the token may not see.
                                        {entity(<<"user/alice">>), "alice-token", 403}],
            Live <- ["", "?offset=now"]],
    ?assertMatch({403, _, _}, request(Config, get, [entity(<<"x">>), "?offset=-1&live=sse"], "lister", [])),
    ?assertMatch({403, _, _}, request(Config, head, entity(<<"x">>), "lister", [])),
    ?assertMatch({401, _, _}, request(Config, get, shard(0), none, [])).

a_stream_ends_with_its_token(Config) ->
    Server = ?config(server, Config),
    Signed = fun() ->
        {200, #{<<"token">> := Token}} = warp_server_test:post(Server, "/v1/tokens", #{seconds => 1}),
        binary_to_list(Token)
    end,
    Path = entity(<<"alice">>),
    {200, _, Short} = events(Config, [Path, "?live=sse&offset=-1"], Signed()),
    {control, _} = warp_server_test:next_event(Short),
    Token = Signed(),
    Waiting = aside(fun() -> request(Config, get, [Path, "?live=long-poll&offset=-1"], Token, []) end),
    ?assertEqual(cut, warp_server_test:next_event(Short, 3000)),
    ?assertMatch({401, #{<<"www-authenticate">> := _}, #{<<"code">> := <<"unauthorized">>}}, Waiting()),
    {200, _, Tcp} = events(Config, [Path, "?live=sse&offset=-1"]),
    {control, _} = warp_server_test:next_event(Tcp),
    Revoked = aside(fun() -> request(Config, get, [Path, "?live=long-poll&offset=-1"], "admin-token", []) end),
    timer:sleep(300),
    ok = warp_server:configure(Server, #{tokens => []}),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    ?assertEqual(cut, warp_server_test:next_event(Tcp, 2000)),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), paid(1)),
    ?assertMatch({401, _, _}, Revoked()).

a_stream_ends_with_its_scope(Config) ->
    Server = ?config(server, Config),
    Configure = fun(Prefix) ->
        Token = #{id => <<"some">>, sha256 => warp_server_test:hash("some-token"),
                  scopes => [#{operations => [subscribe], prefix => Prefix}]},
        ok = warp_server:configure(Server, #{tokens => [Token | warp_server_test:tokens()]})
    end,
    Path = entity(<<"user/a">>),
    ok = Configure(<<>>),
    {200, _, Tcp} = events(Config, [Path, "?live=sse&offset=-1"], "some-token"),
    {control, _} = warp_server_test:next_event(Tcp),
    Waiting = aside(fun() -> request(Config, get, [Path, "?live=long-poll&offset=-1"], "some-token", []) end),
    timer:sleep(300),
    %% As long as the entity is within its scopes it goes on.
    ok = Configure(<<"user/">>),
    ok = append(Config, <<"user/a">>, [paid(1)]),
    ?assertMatch({data, [_]}, warp_server_test:next_event(Tcp)),
    {control, _} = warp_server_test:next_event(Tcp),
    ?assertMatch({200, _, [_]}, Waiting()),
    Again = aside(fun() -> request(Config, get, [Path, "?live=long-poll&offset=now"], "some-token", []) end),
    timer:sleep(300),
    {Micros, ok} = timer:tc(fun() ->
        ok = Configure(<<"other/">>),
        ?assertEqual(cut, warp_server_test:next_event(Tcp, 2000)),
        ok
    end),
    ?assert(Micros < 1000000),
    ?assertMatch({403, _, #{<<"code">> := <<"forbidden">>}}, Again()),
    ?assertMatch({403, _, _}, request(Config, get, Path, "some-token", [])).

%% What waits for a client that takes nothing is not sent once it may not have it.
a_stream_that_waits_is_asked_again(Config) ->
    Server = ?config(server, Config),
    Text = binary:copy(<<"x">>, 10000),
    [ok = append(Config, <<"alice">>, [(paid(1))#{metadata => #{text => Text}} || _ <- lists:seq(1, 100)])
     || _ <- lists:seq(1, 20)],
    Configure = fun(Operations) ->
        Token = #{id => <<"some">>, sha256 => warp_server_test:hash("some-token"),
                  scopes => [#{operations => Operations}]},
        ok = warp_server:configure(Server, #{tokens => [Token | warp_server_test:tokens()]})
    end,
    ok = Configure([subscribe]),
    {200, _, Tcp} = events(Config, [entity(<<"alice">>), "?live=sse&offset=-1"], "some-token"),
    timer:sleep(1000),
    ok = Configure([list]),
    All = warp_server_test:all_events(Tcp),
    ?assertEqual(cut, lists:last(All)),
    ?assert(length(lists:append([Events || {data, Events} <- All])) < 1500).

only_reading_is_there(Config) ->
    [begin
         {405, Headers, Body} = request(Config, Method, Path, "admin-token", []),
         ?assertMatch(#{<<"allow">> := <<"GET, HEAD">>, <<"content-type">> := <<"application/problem+json">>}, Headers),
         ?assertMatch(#{<<"code">> := <<"method_not_allowed">>}, Body)
     end || Method <- [put, post, delete], Path <- [entity(<<"alice">>), shard(0)]].

it_works_by_http2(Config) ->
    ok = append(Config, <<"alice">>, [paid(1)]),
    Url = ["http://127.0.0.1:", integer_to_list(warp_server_test:port(?config(server, Config))), entity(<<"alice">>)],
    Curl = fun(Query) ->
        Command = ["curl -sN --http2-prior-knowledge -w ' %{http_version} %{http_code}' "
                   "-H 'Authorization: Bearer admin-token' '", Url, Query, "'"],
        unicode:characters_to_binary(os:cmd(binary_to_list(iolist_to_binary(Command))))
    end,
    ?assertMatch([<<"[{\"", _/binary>>, <<"2">>, <<"200">>], binary:split(Curl(""), <<" ">>, [global])),
    ?assertEqual(<<" 2 204">>, Curl("?offset=now&live=long-poll")),
    Events = Curl("?offset=-1&live=sse"),
    ?assertMatch(<<"event: data\ndata:[\ndata:{", _/binary>>, Events),
    ?assertNotEqual(nomatch, binary:match(Events, <<"\"upToDate\":true}\n\n 2 200">>)).
