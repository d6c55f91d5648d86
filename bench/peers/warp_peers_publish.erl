%% Puts the tables between two marks of docs/performance.md, and the chart beside it.
-module(warp_peers_publish).

-export([publish/2, between/2]).

-define(PAGE, "docs/performance.md").
-define(CHART, "docs/peers.svg").
-define(BEGIN, "<!-- peers: make bench-peers ARGS=--publish writes from here -->\n").
-define(END, "<!-- peers: to here -->\n").

-spec publish(warp_peers_machine:machine(), [warp_peers_figures:figure()]) -> ok.
publish(Machine, Figures) ->
    {ok, Page} = file:read_file(?PAGE),
    Text = [warp_peers_machine:text(Machine), "\n",
            "\n![The rates as bars](peers.svg)\n",
            [["\n**", warp_peers_work:title(Work), "**\n\n",
              warp_peers_table:markdown([Figure || #{work := W} = Figure <- Figures, W =:= Work])]
             || Work <- warp_peers_work:names(), lists:any(fun(#{work := W}) -> W =:= Work end, Figures)]],
    ok = file:write_file(?PAGE, between(Page, Text)),
    ok = file:write_file(?CHART, warp_peers_chart:svg("Warp and its peers, all writes durable", Figures)),
    io:format("Put into ~ts and ~ts~n", [?PAGE, ?CHART]).

%% The page with this text in place of what stood between the marks.
-spec between(binary(), iodata()) -> binary().
between(Page, Text) ->
    case binary:split(Page, <<?BEGIN>>) of
        [Before, Rest] ->
            [_, After] = binary:split(Rest, <<?END>>),
            iolist_to_binary([Before, ?BEGIN, "\n", Text, "\n", ?END, After]);
        [_] ->
            throw("docs/performance.md has lost the mark after which the figures stand")
    end.

