%% @private Random names for what has to be told from others. They are no secrets: the generator of the standard library
%% is good enough, needs no other application, and loads no library when it is first called.
-module(warp_random).

-export([bytes/1, hex/1]).

%% @doc So many random bytes.
-spec bytes(pos_integer()) -> binary().
bytes(Count) ->
    << <<(rand:uniform(256) - 1)>> || _ <- lists:seq(1, Count) >>.

%% @doc So many random bytes in hexadecimal digits.
-spec hex(pos_integer()) -> binary().
hex(Count) ->
    binary:encode_hex(bytes(Count)).
