%% The figures as JSON, one figure in each line.
-module(warp_peers_json).

-export([write/3, text/2]).

-spec write(file:filename(), warp_peers_machine:machine(), [warp_peers_figures:figure()]) -> ok.
write(File, Machine, Figures) ->
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, text(Machine, Figures)).

-spec text(warp_peers_machine:machine(), [warp_peers_figures:figure()]) -> iodata().
text(Machine, Figures) ->
    ["{\"machine\": ", encoded(maps:from_list(Machine)), ",\n \"figures\": [\n",
     lists:join(",\n", ["  " ++ encoded(figure(Figure)) || Figure <- Figures]),
     "\n]}\n"].

figure(#{work := Work, 'case' := Case, unit := Unit, subject := Subject, values := Values, median := Median}) ->
    #{work => list_to_binary(Work), 'case' => list_to_binary(Case), unit => Unit,
      subject => list_to_binary(warp_peer:label(Subject)), values => [value(Value) || Value <- Values],
      median => value(Median)}.

value(blank) -> null;
value(failed) -> null;
value(Value) -> Value.

encoded(Term) ->
    {ok, Text} = warp_json:encode_long(Term),
    binary_to_list(Text).
