%% The projection of `warp_power_SUITE': parcels, some of which are deleted and live again, and tables of them that
%% have to follow from the logs after a loss of power.
-module(warp_power_tables).

-export([aggregates/0, work/3, wrong/2]).

-define(ROUNDS, 40).

aggregates() -> [warp_read_model:aggregate()].

-spec work(warp_core:ctx(), warp_power:say(), binary()) -> ok.
work(Ctx, _Say, _Caller) ->
    lists:foreach(fun(Round) ->
        N = rand:uniform(20),
        ok = warp_read_model:append(Ctx, warp_read_model:entity(N), Round),
        _ = [ok = warp_core:delete(warp_core:entity(Ctx, warp_read_model:entity(N))) || Round rem 8 =:= 0]
    end, lists:seq(1, ?ROUNDS)).

%% Whether the tables differ from the logs, once what was under way is done.
-spec wrong(warp_core:ctx(), [[binary()]]) -> [term()].
wrong(Ctx, _Said) ->
    try
        warp_test:wait_until(fun() ->
            #{deletions := #{under_way := Count}} = warp_core:stats(Ctx),
            Count =:= 0 orelse {deletions, Count}
        end, 60000),
        warp_read_model:assert_equal(Ctx, 60000),
        []
    catch
        Class:Reason -> [{tables, Class, Reason}]
    end.
