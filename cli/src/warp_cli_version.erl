%% @private `warp version'.
-module(warp_cli_version).
-behaviour(warp_cli_command).

-export([commands/0]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"version">>],
       about => <<"Say which versions of Warp, its format and Erlang/OTP this is">>,
       places => [],
       examples => [<<"warp version">>, <<"warp version --json">>],
       run => fun run/1}].

run(Args) ->
    _ = application:load(warp_core),
    {ok, Version} = application:get_key(warp_core, vsn),
    Versions = #{warp => list_to_binary(Version), format => warp_cli_folder:newest(),
                 otp => list_to_binary(erlang:system_info(otp_release))},
    warp_cli_result:print(Args, Versions, fun(#{warp := Warp, format := Format, otp := Otp}) ->
        io_lib:format("warp ~ts, format ~b, Erlang/OTP ~ts~n", [Warp, Format, Otp])
    end).
