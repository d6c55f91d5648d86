%% The rates as bars, in an SVG that is read on light and dark pages.
-module(warp_peers_chart).

-export([svg/2]).

-define(WIDTH, 760).
-define(LEFT, 150).
-define(BAR, 14).
-define(GAP, 4).
-define(HEAD, 26).

%% A panel for each case that has to be in the chart, drawn to the scale of its own longest bar. The limit of the disk
%% is left out, beside which nothing could be told apart.
-spec svg(string(), [warp_peers_figures:figure()]) -> iodata().
svg(Title, Figures) ->
    Panels = panels([Figure || #{chart := true, subject := Subject, median := Median} = Figure <- Figures,
                               is_number(Median), Subject =/= limit]),
    {Drawn, Height} = lists:mapfoldl(fun panel/2, 40, Panels),
    [io_lib:format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ~b ~b\" width=\"~b\" height=\"~b\" "
                   "font-family=\"sans-serif\" font-size=\"12\">~n", [?WIDTH, Height + 10, ?WIDTH, Height + 10]),
     "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
     text(10, 22, "font-size=\"15\" font-weight=\"bold\"", Title),
     Drawn,
     "</svg>\n"].

panels([]) ->
    [];
panels([#{work := Work, 'case' := Case} | _] = Figures) ->
    {Panel, Rest} = lists:splitwith(fun(#{work := W, 'case' := C}) -> {W, C} =:= {Work, Case} end, Figures),
    [{warp_peers_work:title(Work) ++ ": " ++ Case, Panel} | panels(Rest)].

panel({Title, Figures}, Top) ->
    Longest = lists:max([Median || #{median := Median} <- Figures]),
    {Bars, Bottom} = lists:mapfoldl(fun(Figure, Y) -> {bar(Figure, Longest, Y), Y + ?BAR + ?GAP} end,
                                    Top + ?HEAD, Figures),
    {[text(10, Top + 17, "font-weight=\"bold\"", Title), Bars], Bottom + 6}.

bar(#{subject := Subject, unit := Unit, median := Median}, Longest, Y) ->
    Length = max(1, round((?WIDTH - ?LEFT - 90) * Median / Longest)),
    [text(?LEFT - 8, Y + 11, "text-anchor=\"end\"", warp_peer:label(Subject)),
     io_lib:format("<rect x=\"~b\" y=\"~b\" width=\"~b\" height=\"~b\" fill=\"~s\"/>~n",
                   [?LEFT, Y, Length, ?BAR, colour(Subject)]),
     text(?LEFT + Length + 6, Y + 11, "", warp_peers_figures:text(Unit, Median))].

text(X, Y, Attributes, Text) ->
    io_lib:format("<text x=\"~b\" y=\"~b\" fill=\"#222222\" ~s>~s</text>~n", [X, Y, Attributes, escaped(Text)]).

escaped(Text) ->
    lists:flatmap(fun($&) -> "&amp;"; ($<) -> "&lt;"; ($>) -> "&gt;"; (C) -> [C] end, lists:flatten(Text)).

colour({_, _}) -> "#b5432a";
colour(_) -> "#4a6d8c".
