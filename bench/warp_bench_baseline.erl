%% The figures of a run in a form that can be compared with those of another run, and such figures in a file.
-module(warp_bench_baseline).

-export([measured/2, text/1, slower/2, save/3, load/1]).
-export_type([figure/0, measured/0]).

-type figure() :: {per_second, number()} | {micros, number()} | {bytes, number()} | {single, number()}.
%% How often it is done in a second, and in the time of one sync.
-type measured() :: {PerSecond :: number(), PerSync :: number()}.

%% Machines are noisy: a smaller loss than this says nothing.
-define(TOLERANCE, 0.25).

%% Memory is not a matter of speed, and what happens only once, or is the longest of some, is not compared.
-spec measured(figure(), Syncs :: number()) -> measured() | none.
measured({per_second, Rate}, Syncs) -> {Rate, Rate / Syncs};
measured({micros, Micros}, Syncs) -> measured({per_second, 1.0e6 / max(1, Micros)}, Syncs);
measured({bytes, _}, _) -> none;
measured({single, _}, _) -> none.

-spec text(number()) -> string().
text(Ratio) when Ratio >= 99.95 -> integer_to_list(round(Ratio));
text(Ratio) when Ratio >= 9.995 -> float_to_list(Ratio * 1.0, [{decimals, 1}]);
text(Ratio) when Ratio >= 0.0995 -> float_to_list(Ratio * 1.0, [{decimals, 2}]);
text(Ratio) -> float_to_list(Ratio * 1.0, [{decimals, 4}]).

%% What became slower, and what share of the baseline is left. It is slower by itself and by its ratio to
%% the syncs: what waits for the disk keeps its ratio on a slower disk, what does not keeps its rate on a faster one.
%% A figure that one of them lacks is not compared.
-spec slower(#{binary() => measured()}, #{binary() => measured()}) -> [{binary(), float()}].
slower(Baseline, Measured) ->
    Shares = [{Name, share(maps:get(Name, Baseline), Now)} || {Name, Now} <- lists:sort(maps:to_list(Measured)),
                                                              is_map_key(Name, Baseline)],
    [{Name, Share} || {Name, Share} <- Shares, Share < 1 - ?TOLERANCE].

share({Rate, Ratio}, {NowRate, NowRatio}) ->
    max(NowRate / Rate, NowRatio / Ratio).

%% Figures that this run did not measure stay as they are in the file.
-spec save(file:filename(), pos_integer(), #{binary() => measured()}) -> ok.
save(File, Shards, Measured) ->
    Before = case load(File) of
        {ok, Shards, Saved} -> Saved;
        _ -> #{}
    end,
    ok = file:write_file(File, encoded(Shards, maps:merge(Before, Measured))).

%% A figure in each line, so that a change is seen.
encoded(Shards, Measured) ->
    ["{\"shards\": ", integer_to_list(Shards), ",\n \"figures\": {\n",
     lists:join(",\n", [encoded_figure(Name, Figure) || {Name, Figure} <- lists:sort(maps:to_list(Measured))]),
     "\n}}\n"].

encoded_figure(Name, {Rate, Ratio}) ->
    {ok, Key} = warp_json:encode(Name, 10000),
    ["  ", Key, ": {\"per_second\": ", rounded(Rate), ", \"per_sync\": ", rounded(Ratio), "}"].

%% Three digits, which is more than they are good for.
rounded(Number) ->
    io_lib:format("~w", [list_to_float(float_to_list(float(Number), [{scientific, 2}]))]).

-spec load(file:filename()) -> {ok, Shards :: pos_integer(), #{binary() => measured()}} | none.
load(File) ->
    case file:read_file(File) of
        {ok, Text} ->
            {ok, #{<<"shards">> := Shards, <<"figures">> := Figures}} = warp_json:decode(Text),
            {ok, Shards, maps:map(fun(_, #{<<"per_second">> := Rate, <<"per_sync">> := Ratio}) -> {Rate, Ratio} end,
                                  Figures)};
        {error, enoent} ->
            none
    end.
