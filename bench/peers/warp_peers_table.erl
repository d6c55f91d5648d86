%% The figures of one work as a table: for people who read a terminal, and as Markdown.
-module(warp_peers_table).

-export([text/2, markdown/1]).

%% A row for each subject, a column for each case; behind each figure, how many times better Warp's is.
-spec text(string(), [warp_peers_figures:figure()]) -> iodata().
text(Title, Figures) ->
    {Cases, Rows} = rows(Figures),
    Widths = [max(17, length(Case)) || Case <- Cases],
    [Title, "\n",
     line("", lists:zip(Widths, Cases)),
     [line(Label, lists:zip(Widths, [[pad(Text, 9), pad(Times, 8)] || {Text, Times} <- Cells]))
      || {Label, Cells} <- Rows]].

line(Label, Cells) ->
    Padded = [pad(Text, Width + 2) || {Width, Text} <- Cells],
    [string:trim(lists:flatten(["  ", string:pad(Label, 19), Padded]), trailing), "\n"].

pad(Text, Width) ->
    string:pad(Text, Width, leading).

-spec markdown([warp_peers_figures:figure()]) -> iodata().
markdown(Figures) ->
    {Cases, Rows} = rows(Figures),
    [["| | ", lists:join(" | ", Cases), " |\n"],
     ["|---|", ["---|" || _ <- Cases], "\n"],
     [["| ", Label, " | ", lists:join(" | ", [cell(Cell) || Cell <- Cells]), " |\n"] || {Label, Cells} <- Rows]].

cell({"", _}) -> "";
cell({Text, ""}) -> Text;
cell({Text, Times}) -> [Text, ", ", Times].

rows(Figures) ->
    Cases = once([Case || #{'case' := Case} <- Figures]),
    Subjects = once([Subject || #{subject := Subject} <- Figures]),
    {Cases, [{warp_peer:label(Subject), [cell(Subject, Case, Figures) || Case <- Cases]} || Subject <- Subjects]}.

once(List) ->
    lists:foldl(fun(Item, Seen) -> case lists:member(Item, Seen) of true -> Seen; false -> Seen ++ [Item] end end, [],
                List).

cell(Subject, Case, Figures) ->
    [#{subject := First, median := Base} | _] = Of = [Figure || #{'case' := C} = Figure <- Figures, C =:= Case],
    case [Figure || #{subject := S} = Figure <- Of, S =:= Subject] of
        [#{unit := Unit, median := Median}] ->
            Times = case {First, Subject} of
                {Same, Same} -> blank;
                {{warp, _}, _} -> warp_peers_figures:times_better(Unit, Base, Median);
                _ -> blank
            end,
            {warp_peers_figures:text(Unit, Median), warp_peers_figures:times_text(Times)};
        [] ->
            {"", ""}
    end.
