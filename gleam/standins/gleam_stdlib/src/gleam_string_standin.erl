%% Text of the stand-in of gleam_stdlib.
-module(gleam_string_standin).

-export([contains/2, starts_with/2, ends_with/2, replace/3, crop/2, split/2, split_tree/2, split_once/2]).
-export([graphemes/1, pop_grapheme/1, trim_start/1, trim_end/1, slice/2, slice/3, drop_bytes/2]).

-spec contains(binary(), binary()) -> boolean().
contains(Text, Part) ->
    string:find(Text, Part) =/= nomatch.

-spec starts_with(binary(), binary()) -> boolean().
starts_with(Text, Prefix) ->
    binary:longest_common_prefix([Text, Prefix]) =:= byte_size(Prefix).

-spec ends_with(binary(), binary()) -> boolean().
ends_with(Text, Suffix) ->
    binary:longest_common_suffix([Text, Suffix]) =:= byte_size(Suffix).

-spec replace(binary(), binary(), binary()) -> binary().
replace(Text, Pattern, With) ->
    unicode:characters_to_binary(string:replace(Text, Pattern, With, all)).

-spec crop(binary(), binary()) -> binary().
crop(Text, Before) ->
    case string:find(Text, Before) of
        nomatch -> Text;
        Found -> Found
    end.

-spec split(binary(), binary()) -> [binary()].
split(Text, <<>>) -> graphemes(Text);
split(Text, On) -> string:split(Text, On, all).

-spec split_tree(unicode:chardata(), binary()) -> [unicode:chardata()].
split_tree(Text, On) ->
    string:split(Text, On, all).

-spec split_once(binary(), binary()) -> {ok, {binary(), binary()}} | {error, nil}.
split_once(Text, On) ->
    case string:split(Text, On) of
        [Before, After] -> {ok, {Before, After}};
        [_] -> {error, nil}
    end.

-spec graphemes(binary()) -> [binary()].
graphemes(Text) ->
    [unicode:characters_to_binary([Cluster]) || Cluster <- string:to_graphemes(Text)].

-spec pop_grapheme(binary()) -> {ok, {binary(), binary()}} | {error, nil}.
pop_grapheme(Text) ->
    case string:next_grapheme(Text) of
        [Cluster | Rest] -> {ok, {unicode:characters_to_binary([Cluster]), unicode:characters_to_binary(Rest)}};
        _ -> {error, nil}
    end.

-spec trim_start(binary()) -> binary().
trim_start(Text) -> string:trim(Text, leading).

-spec trim_end(binary()) -> binary().
trim_end(Text) -> string:trim(Text, trailing).

-spec slice(binary(), non_neg_integer()) -> binary().
slice(Text, Start) ->
    unicode:characters_to_binary(string:slice(Text, Start)).

-spec slice(binary(), non_neg_integer(), pos_integer()) -> binary().
slice(Text, Start, Length) ->
    unicode:characters_to_binary(string:slice(Text, Start, Length)).

-spec drop_bytes(binary(), non_neg_integer()) -> binary().
drop_bytes(Text, Count) ->
    binary:part(Text, Count, byte_size(Text) - Count).
