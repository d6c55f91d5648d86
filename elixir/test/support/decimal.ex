defmodule Decimal do
  @moduledoc false
  # The part of the library Decimal that Warp calls, as version 2 has it: Warp depends on no package.
  defstruct sign: 1, coef: 0, exp: 0

  def new(text) do
    case Regex.run(~r/^(-?)(\d+)(?:\.(\d+))?(?:E([+-]?\d+))?$/, text) do
      [_, sign, whole | rest] ->
        fraction = Enum.at(rest, 0, "")
        exp = rest |> Enum.at(1, "0") |> String.to_integer()
        coef = String.to_integer(whole <> fraction)
        %Decimal{sign: if(sign == "-", do: -1, else: 1), coef: coef, exp: exp - byte_size(fraction)}

      nil ->
        raise ArgumentError, "no decimal: #{inspect(text)}"
    end
  end

  def to_string(%Decimal{sign: sign, coef: coef, exp: exp}, :scientific) do
    digits = Integer.to_string(coef)
    sign = if sign < 0, do: "-", else: ""
    length = byte_size(digits)

    cond do
      exp == 0 ->
        sign <> digits

      exp < 0 and -exp < length ->
        sign <> String.slice(digits, 0, length + exp) <> "." <> String.slice(digits, exp..-1//1)

      true ->
        sign <> digits <> "E" <> Integer.to_string(exp)
    end
  end
end
