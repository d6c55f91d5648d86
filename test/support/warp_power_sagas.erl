%% The sagas of `warp_power_SUITE': transfers between a few accounts, and what has to be true of them after a loss of
%% power. All that a transfer is follows from its id. Every fifth one has a step more, on a guest who is deleted when
%% the caller has its result.
-module(warp_power_sagas).

-export([aggregates/0, fund/2, work/3, wrong/2]).

-define(ACCOUNTS, [<<"ann">>, <<"ben">>, <<"cleo">>, <<"dora">>]).
-define(FUNDS, 300).
-define(CALLERS, 8).
-define(ROUNDS, 25).

aggregates() ->
    [(warp_saga_load:aggregate())#{project => fun balance/3}, #{name => <<"Guest">>, initial_state => none}].

balance(Account, Balance, _Event) -> [warp_projection:upsert(<<"balances">>, Account, #{amount => Balance})].

%% Before all sagas.
-spec fund(warp_core:ctx(), warp_power:say()) -> ok.
fund(Ctx, Say) ->
    lists:foreach(fun(Account) ->
        Credited = #{aggregate => <<"Account">>, type => <<"Credited">>, payload => #{amount => ?FUNDS}},
        {ok, 1} = warp_core:append(warp_core:entity(Ctx, Account), Credited#{id => <<"funds">>}),
        Say([<<"funded">>, Account])
    end, ?ACCOUNTS).

-spec work(warp_core:ctx(), warp_power:say(), binary()) -> ok.
work(Ctx, Say, Caller) ->
    lists:foreach(fun(Round) ->
        Id = id(Caller, Round),
        {ok, {How, _}} = warp_saga:commit(saga(Id), Ctx),
        ok = Say([<<"saga">>, Id, atom_to_binary(How)]),
        _ = [begin
                 ok = warp_core:delete(warp_core:entity(Ctx, Guest)),
                 ok = Say([<<"gone">>, Guest])
             end || Guest <- guests(Id)]
    end, lists:seq(1, ?ROUNDS)).

id(Caller, Round) -> <<Caller/binary, $-, (integer_to_binary(Round))/binary>>.

ids() -> [id(integer_to_binary(Caller), Round) || Caller <- lists:seq(1, ?CALLERS), Round <- lists:seq(1, ?ROUNDS)].

saga(Id) ->
    {From, To, Amount} = transfer(Id),
    Note = #{type => <<"Noted">>, payload => #{text => Id}},
    Transfer = warp_saga_load:transfer({Id, From, To, Amount, erlang:phash2({order, Id}, 4)}),
    lists:foldl(fun(Guest, Saga) -> warp_saga:step(Saga, warp_saga_test:step(Guest, <<"Guest">>, Note, Note)) end,
                Transfer, guests(Id)).

%% Some amounts are more than there is.
transfer(Id) ->
    From = erlang:phash2({from, Id}, 4),
    To = (From + 1 + erlang:phash2({to, Id}, 3)) rem 4,
    {lists:nth(From + 1, ?ACCOUNTS), lists:nth(To + 1, ?ACCOUNTS), 1 + erlang:phash2({amount, Id}, 150)}.

guests(Id) -> [<<"guest-", Id/binary>> || erlang:phash2({guest, Id}, 5) =:= 0].

%% What is not as it was said, once all sagas have come to their ends.
-spec wrong(warp_core:ctx(), [[binary()]]) -> [term()].
wrong(Ctx, Said) ->
    {ok, _} = warp_saga:recover_pending(Ctx),
    Sagas = maps:from_list([{Id, state(Ctx, Id)} || Id <- ids()]),
    Answers = [{Id, binary_to_existing_atom(How)} || [<<"saga">>, Id, How] <- Said],
    [{unfunded, Account} || [<<"funded">>, Account] <- Said, funds(Ctx, Account) =/= ?FUNDS]
        ++ [{saga_open, Id, State} || {Id, State} <- maps:to_list(Sagas),
                                      not lists:member(State, [committed, compensated, not_found])]
        ++ [{saga_lost, Id, How, State} || {Id, How} <- Answers, State <- [map_get(Id, Sagas)], State =/= How]
        ++ wrong_money(Ctx, Sagas)
        ++ [{saga_ran_again, Id, How, Now} || {Id, How} <- Answers, Now <- [again(Ctx, Id)], Now =/= How]
        ++ [{again, Why} || Why <- wrong_money(Ctx, Sagas)].

state(Ctx, Id) ->
    case warp_saga:status(Ctx, Id) of
        {ok, #{state := State}} -> State;
        {error, Reason} -> Reason
    end.

again(Ctx, Id) ->
    case warp_saga:commit(saga(Id), Ctx) of
        {ok, {How, _}} -> How;
        {error, Reason} -> Reason
    end.

%% An account has its funds, and what the committed transfers have moved.
wrong_money(Ctx, Sagas) ->
    Moves = [transfer(Id) || {Id, committed} <- maps:to_list(Sagas)],
    [{money, Account, Is, Should}
     || Account <- ?ACCOUNTS,
        Should <- [{ok, funds(Ctx, Account) + lists:sum([moved(Account, Move) || Move <- Moves])}],
        Is <- [warp_core:get(warp_core:entity(Ctx, Account), <<"Account">>), projected(Ctx, Account)],
        Is =/= Should].

moved(Account, {Account, _, Amount}) -> -Amount;
moved(Account, {_, Account, Amount}) -> Amount;
moved(_Account, _Other) -> 0.

funds(Ctx, Account) ->
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, Account)),
    lists:sum([Amount || #{id := <<"funds">>, payload := #{<<"amount">> := Amount}} <- Events]).

projected(Ctx, Account) ->
    ok = warp_core:await_projection(warp_core:entity(Ctx, Account), 60000),
    case warp_core:query(Ctx, <<"SELECT amount FROM balances WHERE id = ?">>, [Account]) of
        {ok, #{rows := [[Amount]]}} -> {ok, Amount};
        {ok, #{rows := []}} -> {ok, 0};
        %% Tables come with the first command.
        {error, {sql_error, <<"no such table", _/binary>>}} -> {ok, 0};
        {error, _} = Error -> Error
    end.
