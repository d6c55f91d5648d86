%% Transfers: a saga of two steps.
-module(warp_bench_sagas).

-export([sagas/1]).

-import(warp_bench_run, [with_context/3, callers/3, title/2, row/3, rate/1, micros/1]).

-define(CALLERS, [1, 16, 256]).

-spec sagas(map()) -> ok.
sagas(Options) ->
    [begin
         title(io_lib:format("transfer over ~ts", [Over]), ["sagas/s", "p50", "p99"]),
         [saga(Options, Accounts, N, "") || N <- ?CALLERS],
         saga(Options#{shards := 1}, Accounts, 256, ", 1 shard")
     end || {Accounts, Over} <- [{1000, "1,000 accounts"}, {2, "2 hot accounts"}]],
    ok.

saga(#{dir := Dir, shards := Shards, seconds := Seconds}, Accounts, N, Note) ->
    with_context(Dir, #{shards => Shards, aggregates => [account()]}, fun(Ctx) ->
        Transfer = fun(Caller, Round) ->
            Id = iolist_to_binary([integer_to_list(Caller), $-, integer_to_list(Round)]),
            {From, To} = pair(Accounts),
            {ok, {committed, _}} = warp_saga:commit(transfer(Id, From, To), Ctx)
        end,
        {Rate, P50, P99} = callers(N, Seconds, Transfer),
        Names = [name(I) || I <- lists:seq(1, Accounts)],
        0 = lists:sum([balance(Ctx, Name) || Name <- Names]),
        row(io_lib:format("~b caller(s)~s", [N, Note]), {per_second, Rate}, [rate(Rate), micros(P50), micros(P99)])
    end).

account() ->
    #{name => <<"Account">>, initial_state => 0,
      apply => fun
          (Balance, #{type := <<"Credited">>, payload := #{<<"amount">> := N}}) -> Balance + N;
          (Balance, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) -> Balance - N
      end}.

balance(Ctx, Name) ->
    {ok, Balance} = warp_core:get(warp_core:entity(Ctx, Name), <<"Account">>),
    Balance.

pair(Accounts) ->
    From = rand:uniform(Accounts),
    case rand:uniform(Accounts) of
        From -> pair(Accounts);
        To -> {name(From), name(To)}
    end.

name(I) ->
    <<"account-", (integer_to_binary(I))/binary>>.

transfer(Id, From, To) ->
    Debit = #{type => <<"Debited">>, payload => #{<<"amount">> => 5}},
    Credit = #{type => <<"Credited">>, payload => #{<<"amount">> => 5}},
    Saga = warp_saga:step(warp_saga:new(Id), #{entity => From, aggregate => <<"Account">>,
                                               forward => Debit, compensate => Credit}),
    warp_saga:step(Saga, #{entity => To, aggregate => <<"Account">>,
                           forward => Credit, compensate => Debit}).
